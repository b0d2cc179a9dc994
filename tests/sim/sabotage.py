"""Ways to break csnode, or its proof, on purpose. Whoever watches must notice each of them.

`python -m tests.sim.sabotage` tells how many worlds each takes; README.md beside this keeps the
figures of the last time.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from csnode.api.once import Once
from csnode.bus.event import Changed
from csnode.context import Fences
from csnode.data.follower import Follower
from csnode.saga.engine import Engine
from csnode.saga.run import Run
from csnode.saga.saga import Step
from csnode.testing import disk, trial
from csnode.testing.draw import Draw, _Drawing
from csnode.testing.lacking import without_events, without_sweeps
from csnode.testing.ledger import Ledger
from csnode.testing.weather import Ill, Mishap
from csnode.testing.world import SPLIT
from roles.data import references, stock
from roles.data.batch import Batch
from roles.data.draft import Draft
from roles.data.reader import Reader
from roles.orchestrator.sagas.deploy_vm import Deploy
from roles.storage.sweep import PoolSweep
from tests.sim.sabotage_api import ALL_OF_API, CATCHERS_OF_API

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

    async def asleep(_: Follower) -> None:
        await asyncio.Event().wait()

    with without_events(), without_sweeps(), patch.object(Follower, "_watch", asleep):
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
        if lost is not None:  # for whoever opens it next: nothing is put beneath a connection
            self.connection, self.image = None, lost

    with patch.object(disk.Opened, "write", write), patch.object(disk.SimDisk, "cut", lose):
        yield


@contextmanager
def a_unique_constraint_dropped() -> Generator[None]:
    """Two machines may have one name in one network."""
    prepared = trial.prepared

    def dropped(shared: bool = False) -> bytes:
        import sqlite3

        before = prepared(shared)
        with sqlite3.connect(":memory:") as database:
            database.deserialize(before)
            for index in ("nic_named", "nic_carded"):
                database.execute(f"DROP INDEX {index}")
            database.commit()
            return database.serialize()

    with patch.object(Draft, "_claim", nothing), patch.object(trial, "prepared", dropped):
        yield


@contextmanager
def a_feed_gap_not_noticed() -> Generator[None]:
    """A view takes what it hears for all there is."""
    hear = Follower._hear

    def gullible(self: Follower, event: Changed) -> None:
        done = self._position.done[event.kind]
        hear(self, replace(event, before=min(event.before, done), along=(event.kind,)))

    with patch.object(Follower, "_hear", gullible):
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


@contextmanager
def clients_without_an_offering() -> Generator[None]:
    """The worlds' clients leave out what createNetwork cannot do without."""
    draw = _Drawing.draw

    def forgetful(self: _Drawing) -> Draw | None:
        drawn = draw(self)
        if drawn is not None and drawn.command == "createNetwork":
            drawn.params.pop("networkofferingid")
        return drawn

    with patch.object(_Drawing, "draw", forgetful):
        yield


@contextmanager
def a_resting_kind_is_gone_for_ever() -> Generator[None]:
    """Whoever follows kinds without news is told to read everything again, again and again."""

    async def late(*_: Any) -> int:
        return 1 << 60

    with patch.object(Reader, "_newest", late):
        yield


@contextmanager
def what_jobs_left_is_a_strangers() -> Generator[None]:
    """Much that is left on a pool looks like the wrong database."""

    async def none(*_: Any) -> set[str]:
        return set()

    with patch.object(PoolSweep, "_left_behind", none):
        yield


@contextmanager
def a_reference_not_held() -> Generator[None]:
    """A row goes although others name it, and is named although it is going."""
    with patch.object(references, "check", nothing):
        yield


ALL: dict[str, Sabotage] = {
    made.__name__: made
    for made in (
        an_undo_left_out, start_written_after_acting, a_fence_ignored, a_lost_event_without_sweep,
        a_commit_acknowledged_before_fsync, a_unique_constraint_dropped, a_feed_gap_not_noticed,
        a_lease_renewed_by_its_old_holder, a_late_answer_believed, a_token_not_honoured,
        clients_without_an_offering, a_resting_kind_is_gone_for_ever, what_jobs_left_is_a_strangers,
        a_reference_not_held,
    )
} | ALL_OF_API  # fmt: skip


STORMS = [Mishap(at=at, ill=Ill.CRASH, lasts_s=0.3, whom=("data",)) for at in range(3, 40, 3)]
"""The data service ends every three seconds."""

RAIN = [Mishap(at=0.0, ill=Ill.LOSS, lasts_s=45.0, whom=("data",), much=0.4)]
"""Two events of five get lost, all the time."""


class Worlds(NamedTuple):
    """Worlds of some weather (None: any); one of them must show a violation of these words."""

    expected: str  # a regular expression
    weather: list[Mishap] | None = None


class Unasked(NamedTuple):
    """So many worlds; in none of them is the command ever accepted."""

    command: str
    worlds: int


MATRIX = "tests/sim/test_matrix.py"
LOST = r"was accepted, and now nobody knows it|was accepted and is lost"
CATCHERS: dict[str, tuple[str, ...] | Worlds | Unasked] = {
    "an_undo_left_out": (MATRIX, "-k", "deploy-disks or deploy-power"),
    "start_written_after_acting": (MATRIX, "-k", "deploy-disks or deploy-power"),
    "a_fence_ignored": (MATRIX, "-k", "LATE and deploy"),
    "a_lost_event_without_sweep": Worlds(r"job .* never ends"),
    "a_commit_acknowledged_before_fsync": Worlds(LOST, STORMS),
    "a_unique_constraint_dropped": ("tests/sim/test_world.py", "-k", "one_name"),
    "a_feed_gap_not_noticed": Worlds(LOST + "|stale read", RAIN),
    "a_lease_renewed_by_its_old_holder": ("tests/contract/test_data.py", "-k", "lease"),
    "a_late_answer_believed": (MATRIX, "-k", "LATE and deploy"),
    "a_token_not_honoured": ("tests/contract/test_data.py", "-k", "token"),
    "clients_without_an_offering": Unasked("createNetwork", 2),
    "a_resting_kind_is_gone_for_ever": ("tests/contract/test_data.py", "-k", "that_rest_opens"),
    "what_jobs_left_is_a_strangers": ("tests/sim/test_sweeps.py", "-k", "however_much"),
    "a_reference_not_held": ("tests/sim/test_races.py", "-k", "taking_a_thing_away and network"),
    **CATCHERS_OF_API,
}
"""Who catches it fastest: some tests (pytest arguments), or worlds and what they say."""


class Caught(NamedTuple):
    """How many worlds it took, and what was said; 0 if nothing was."""

    worlds: int
    said: str


def caught_by_worlds(
    sabotage: Sabotage, seeds: range, weather: list[Mishap] | None = None, expected: str = ""
) -> Caught:
    """The first world that says what is expected; of one that breaks, only how it broke counts."""
    _prepare()
    for count, seed in enumerate(seeds, 1):
        with sabotage():
            try:
                violations = trial.tried(seed, weather, SPLIT if weather else None).violations
            except Exception as error:  # noqa: BLE001 (a world that breaks is not what we look for)
                violations = (f"the world broke: {type(error).__name__}: {error}",)
        for violation in violations:
            if re.search(expected, violation) and not violation.startswith("the world broke"):
                return Caught(count, violation)
    return Caught(0, "")


def _prepare() -> None:
    """What worlds begin with is made by a csnode that works."""
    for shared in (False, True):
        trial.prepared(shared)


def caught_by_ledger(sabotage: Sabotage, command: str, worlds: int) -> str:
    """What these worlds tell, if they asked for the command and none ever accepted it."""
    _prepare()
    whole = Ledger()
    with sabotage():
        for seed in range(worlds):
            whole.add(trial.tried(seed).ledger)
    asked = whole.commands.get(command)
    if asked is None or asked.accepted:
        return ""
    return f"{command} was accepted in none of {worlds} worlds: {asked.refused.most_common(1)}"


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
    match by:
        case Worlds():
            found = caught_by_worlds(ALL[name], range(25), by.weather, by.expected)
            return f"world {found.worlds}: {found.said}" if found.worlds else ""
        case Unasked():
            return caught_by_ledger(ALL[name], by.command, by.worlds)
        case _:
            return caught_by_tests(name, by)


if __name__ == "__main__":
    for sabotage in sys.argv[1:] or ALL:
        found = caught_by_worlds(ALL[sabotage], range(100))
        print(f"{sabotage}\n   any worlds: {found.worlds or 'not in 100'} {found.said[:160]}")
        print(f"   fastest: {caught(sabotage)[:200]}", flush=True)
