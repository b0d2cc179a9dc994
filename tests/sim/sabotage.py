"""Ten ways to break csnode on purpose. Whoever watches over it must notice each of them.

`python -m tests.sim.sabotage` tells how many worlds each takes; README.md beside this keeps the
figures of the last time.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from csnode.api.once import Once
from csnode.bus.event import Changed
from csnode.context import Fences
from csnode.data.view import View
from csnode.saga.engine import Engine
from csnode.saga.run import Run
from csnode.saga.saga import Step
from csnode.testing import disk, trial
from csnode.testing.lacking import without_events, without_sweeps
from csnode.testing.weather import Ill, Mishap
from csnode.testing.world import SPLIT
from roles.data import stock
from roles.data.batch import Batch
from roles.data.draft import Draft
from roles.orchestrator.sagas.deploy_vm import Deploy

Sabotage = Callable[[], AbstractContextManager[None]]


def nothing(*_: Any) -> None:
    """What the sabotaged code does now."""


def no_columns(*_: Any) -> dict[str, Any]:
    """Nothing is written of what begins."""
    return {}


@contextmanager
def an_undo_left_out() -> Generator[None]:
    """A deploy that fails leaves its disks."""
    step: Step[Any] = Deploy.__dict__["disks"]
    with patch.object(step, "undoing", None):
        yield


@contextmanager
def start_written_after_acting() -> Generator[None]:
    """A step is in the record only once it is done."""
    write = Run.write

    async def late(self: Run, **columns: Any) -> int:
        if "started" in columns:
            done = {**self.job.results, **columns.get("results", {})}
            columns["started"] = tuple(name for name in columns["started"] if name in done)
        return await write(self, **columns)

    with patch.object(Run, "write", late), patch.object(Engine, "beginning", no_columns):
        yield


@contextmanager
def a_fence_ignored() -> Generator[None]:
    """Components obey whoever comes."""
    with patch.object(Fences, "check", Fences.note):
        yield


@contextmanager
def a_lost_event_without_sweep() -> Generator[None]:
    """Events are lost, and nobody looks by himself."""

    async def asleep(_: View) -> None:
        await asyncio.Event().wait()

    with without_events(), without_sweeps(), patch.object(View, "_watch", asleep):
        yield


@contextmanager
def a_commit_acknowledged_before_fsync() -> Generator[None]:
    """The answer comes first; a process that ends before the sync has lied."""
    cut = disk.SimDisk.cut

    async def write(self: disk.Opened, act: Callable[[], None]) -> None:
        held: Any = self.disk
        if getattr(held, "unsynced", None) is None:
            held.unsynced = held.connection.serialize()
        act()
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, setattr, held, "unsynced", None)

    def lose(self: disk.SimDisk) -> None:
        cut(self)
        lost = getattr(self, "unsynced", None)
        if lost is not None:
            self.connection.deserialize(lost)

    with patch.object(disk.Opened, "write", write), patch.object(disk.SimDisk, "cut", lose):
        yield


@contextmanager
def a_unique_constraint_dropped() -> Generator[None]:
    """Two machines may have one name in one network."""
    before = trial.prepared()

    def dropped() -> bytes:
        import sqlite3

        with sqlite3.connect(":memory:") as database:
            database.deserialize(before)
            for index in ("nic_named", "nic_carded"):
                database.execute(f"DROP INDEX {index}")
            database.commit()
            return database.serialize()

    image = dropped()
    with patch.object(Draft, "_claim", nothing), patch.object(trial, "prepared", lambda: image):
        yield


@contextmanager
def a_feed_gap_not_noticed() -> Generator[None]:
    """A view takes what it hears for all there is."""
    hear = View._hear

    def gullible(self: View, event: Changed) -> None:
        done = self._done[event.kind]
        hear(self, Changed(kind=event.kind, before=min(event.before, done), entries=event.entries))

    with patch.object(View, "_hear", gullible):
        yield


@contextmanager
def a_lease_renewed_by_its_old_holder() -> Generator[None]:
    """Whoever had a lease once has it for ever: also if another has taken it since."""
    hold = stock.hold

    def again(draft: Draft, item: Any) -> None:
        if item.fence:
            item = type(item)(name=item.name, holder=item.holder, seconds=item.seconds)
            kind = draft.kind("lease")
            draft.remove(kind, item.name)
        hold(draft, item)

    from roles.data import change

    with patch.dict(change._DO, {stock.Hold: again}):
        yield


@contextmanager
def a_late_answer_believed() -> Generator[None]:
    """The undo acts under the same fence as the step it undoes."""
    turn = Run._turn

    async def same(self: Run, step: Step[Any], fault: Any) -> None:
        before = self.fence
        await turn(self, step, fault)
        self.fence = before

    with patch.object(Run, "_turn", same):
        yield


@contextmanager
def a_token_not_honoured() -> Generator[None]:
    """Neither the data service nor the api knows that it was asked before."""
    add = Batch.add

    def forgetful(self: Batch, commit: Any, context: Any, _: bytes) -> Any:
        return add(self, type(commit)(changes=commit.changes), context, b"")

    with ExitStack() as broken:
        broken.enter_context(patch.object(Batch, "add", forgetful))
        broken.enter_context(patch.object(Once, "first", nothing))
        yield


ALL: dict[str, Sabotage] = {
    made.__name__: made
    for made in (
        an_undo_left_out, start_written_after_acting, a_fence_ignored, a_lost_event_without_sweep,
        a_commit_acknowledged_before_fsync, a_unique_constraint_dropped, a_feed_gap_not_noticed,
        a_lease_renewed_by_its_old_holder, a_late_answer_believed, a_token_not_honoured,
    )
}  # fmt: skip


STORMS = [Mishap(at=at, ill=Ill.CRASH, lasts_s=0.3, whom=("data",)) for at in range(3, 40, 3)]
"""The data service ends every three seconds."""

RAIN = [Mishap(at=0.0, ill=Ill.LOSS, lasts_s=45.0, whom=("data",), much=0.4)]
"""Two events of five get lost, all the time."""

MATRIX = "tests/sim/test_matrix.py"
CATCHERS: dict[str, tuple[str, ...] | list[Mishap] | None] = {
    "an_undo_left_out": (MATRIX, "-k", "deploy-disks or deploy-power"),
    "start_written_after_acting": (MATRIX, "-k", "deploy-disks or deploy-power"),
    "a_fence_ignored": (MATRIX, "-k", "LATE and deploy"),
    "a_lost_event_without_sweep": None,
    "a_commit_acknowledged_before_fsync": STORMS,
    "a_unique_constraint_dropped": ("tests/sim/test_world.py", "-k", "one_name"),
    "a_feed_gap_not_noticed": RAIN,
    "a_lease_renewed_by_its_old_holder": ("tests/contract/test_data.py", "-k", "lease"),
    "a_late_answer_believed": (MATRIX, "-k", "LATE and deploy"),
    "a_token_not_honoured": ("tests/contract/test_data.py", "-k", "token"),
}
"""Who catches it fastest: some tests (pytest arguments), or worlds of that weather (None: any)."""


def caught_by_worlds(
    sabotage: Sabotage, seeds: range, weather: list[Mishap] | None = None
) -> tuple[int, str]:
    """How many worlds it took, and what gave it away; (0, "") if nothing did."""
    trial.prepared()
    for count, seed in enumerate(seeds, 1):
        with sabotage():
            try:
                violations = trial.tried(seed, weather, SPLIT if weather else None).violations
            except Exception as error:  # noqa: BLE001 (a world that breaks gives it away too)
                violations = (f"the world broke: {type(error).__name__}: {error}",)
        if violations:
            return count, violations[0]
    return 0, ""


def caught_by_tests(name: str, args: tuple[str, ...]) -> str:
    """The first test that fails with the sabotage in place; "" if none does."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "tests.sim.sabotaged", *args]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "SABOTAGE": name},
    )  # fmt: skip
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return failed[0].removeprefix("FAILED ") if done.returncode == 1 and failed else ""


def caught(name: str) -> str:
    """What gave the sabotage away, by its fastest catcher; "" if nothing did."""
    by = CATCHERS[name]
    if isinstance(by, tuple):
        return caught_by_tests(name, by)
    count, what = caught_by_worlds(ALL[name], range(25), by)
    return f"world {count}: {what}" if count else ""


if __name__ == "__main__":
    for sabotage in sys.argv[1:] or ALL:
        count, what = caught_by_worlds(ALL[sabotage], range(100))
        print(f"{sabotage}\n   any worlds: {count or 'not in 100'} {what[:160]}", flush=True)
        print(f"   fastest: {caught(sabotage)[:200]}", flush=True)
