"""`csnode top`: what the cloud does now, again and again."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from csnode import clock, log
from csnode.api.progress import Lines, steps_of
from csnode.cli import joined, show
from csnode.cli.chosen import Chosen
from csnode.cli.given import Given, given_of
from csnode.config import Config
from csnode.data.store import Store
from csnode.directory.directory import Member
from csnode.faults import Fault
from csnode.model.host import Host
from csnode.model.ids import object_name
from csnode.model.job import CLOSED, Job, JobState
from csnode.model.vm import Vm
from csnode.node import AnyBus

UNSETTLED = (*(state for state in JobState if state not in CLOSED), JobState.STUCK)
SAGAS_SHOWN = 20
Frame = dict[str, Any]


@click.command("top", short_help="What the cloud does now; q ends it.")
@click.option("--once", is_flag=True, help="One frame, then end.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between frames.")
@show.output_option()
@click.pass_obj
def command(chosen: Chosen, once: bool, every: float, output: str) -> None:
    """Show the components with their load, the queues, the hosts, and the sagas at work.

    Load is the calls that a node was working at when it last told of itself; writes/s are
    rows of the feed between frames. q or Ctrl-C ends it. JSON is frame after frame.

    Run it with the same configuration (cluster, directory, credential) as the nodes.
    """
    log.start("error", "text")
    asyncio.run(_watch(chosen.config(), once, max(0.2, every), output == "json"))


async def _watch(config: Config, once: bool, every_s: float, as_json: bool) -> None:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        store = joined.store(bus)
        looking = _Looking(bus, store)
        frame = await looking.frame()
        if once or as_json or not sys.stdout.isatty():
            while True:
                if as_json:
                    show.as_json(frame)
                else:
                    Console(highlight=False, markup=False, width=160).print(_drawn(frame))
                if once:
                    return
                await asyncio.sleep(every_s)
                frame = await looking.frame()
        with _keys() as pressed, Live(_drawn(frame), screen=True, auto_refresh=False) as live:
            while not await _pressed_q(pressed, every_s):
                live.update(_drawn(await looking.frame()), refresh=True)


class _Looking:
    """Frames of one cloud, one after the other."""

    def __init__(self, bus: AnyBus, store: Store) -> None:
        self._bus, self._store = bus, store
        self._last: tuple[float, int] | None = None

    async def frame(self) -> Frame:
        """Return each section as a list of rows; `trouble` says why rows are missing, if any."""
        members = list(self._bus.directory.members())
        components = [_component(member) for member in members]
        found: Frame = {"at": clock.stamp(clock.wall()), "components": components, "trouble": ""}
        try:
            jobs, hosts, vms, given, writes = await asyncio.gather(
                self._store.find(Job, state=UNSETTLED),
                self._store.find(Host),
                self._store.find(Vm),
                given_of(self._store),
                self._writes_a_second(),
            )
        except Fault as fault:
            empty: list[Frame] = []
            return found | {"writes/s": None, "queues": empty, "hosts": empty, "sagas": empty,
                            "trouble": fault.message}  # fmt: skip
        return found | {
            "writes/s": writes,
            "queues": _queues(jobs, members),
            "hosts": [_host(host, vms, given) for host in sorted(hosts, key=lambda h: h.name)],
            "sagas": _sagas(jobs),
        }

    async def _writes_a_second(self) -> float | None:
        """Count the writes a second since the frame before; None in the first one."""
        head, at, last = await self._store.data.head(()), clock.now(), self._last
        self._last = at, head
        return None if last is None else round((head - last[1]) / max(at - last[0], 0.001), 1)


def _component(member: Member) -> Frame:
    return {
        "node": member.node,
        "roles": list(member.roles),
        "health": str(member.health),
        "load": member.load,
        "wire": member.wire,
        "version": member.version,
    }


def _queues(jobs: Sequence[Job], members: Sequence[Member]) -> list[Frame]:
    """Count jobs by orchestrator; those that nobody claimed yet have none."""
    owners = {m.node: None for m in members if "orchestrator" in m.roles}
    owners |= {job.owner: None for job in jobs if job.owner}
    states = Counter((job.owner or "", job.state) for job in jobs)
    return [
        {"orchestrator": owner or "(none yet)"}
        | {state.value: states[owner, state] for state in UNSETTLED}
        for owner in ("", *sorted(owners))
    ]


def _host(host: Host, vms: Sequence[Vm], given: Given) -> Frame:
    return {
        "host": host.name,
        "state": host.seen.value,
        "maintenance": host.maintenance,
        "machines": sum(vm.runs and vm.host == host.id for vm in vms),
        **given.columns(host),
    }


def _sagas(jobs: Sequence[Job]) -> list[Frame]:
    """Return the open and stuck sagas, the oldest first."""
    lines, at = Lines(jobs), clock.wall()
    found: list[Frame] = []
    for job in sorted(jobs, key=lambda job: job.created):
        steps, behind = steps_of(job), lines.behind(job)
        step = steps[-1] if steps else None
        waits = f"waits for job {behind[0].job}" if behind else ""
        found.append({
            "job": job.id,
            "saga": job.verb,
            "state": job.state.value,
            "object": object_name(job.object_kind, job.object_id),
            "step": step.name if step else waits,
            "tries": step.tries if step else 0,
            "step s": round(at - step.began, 1) if step and step.began else 0.0,
            "all s": round(at - job.created, 1),
            "owner": job.owner or "",
        })  # fmt: skip
    return found


def _drawn(frame: Frame) -> Group:
    parts: list[Any] = [f"csnode top  {frame['at']}  writes/s {_text(frame['writes/s'])}"]
    if frame["trouble"]:
        parts.append(f"the data service does not answer: {frame['trouble']}")
    for title in ("components", "queues", "hosts", "sagas"):
        rows: list[Frame] = frame[title]
        if not rows:
            continue
        count = f" ({len(rows)})" if title != "queues" else ""
        table = Table(box=None, pad_edge=False, title=f"{title.upper()}{count}",
                      title_justify="left")  # fmt: skip
        for column in rows[0]:
            table.add_column(column.upper(), overflow="fold")
        for row in rows[:SAGAS_SHOWN] if title == "sagas" else rows:
            table.add_row(*map(_text, row.values()))
        parts += ["", table]
    return Group(*parts)


def _text(cell: Any) -> str:
    if isinstance(cell, list):
        return ", ".join(map(str, cell))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return "" if cell is None else str(cell)


@contextmanager
def _keys() -> Generator[asyncio.Queue[str]]:
    """Yield what is typed, key by key, not echoed; nothing if standard input is no terminal."""
    import termios
    import tty

    typed: asyncio.Queue[str] = asyncio.Queue()
    if not sys.stdin.isatty():
        yield typed
        return
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    loop.add_reader(sys.stdin, lambda: typed.put_nowait(sys.stdin.read(1)))
    try:
        yield typed
    finally:
        loop.remove_reader(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def _pressed_q(typed: asyncio.Queue[str], within_s: float) -> bool:
    """Wait so long for a q; return whether it came."""
    try:
        async with asyncio.timeout(within_s):
            while await typed.get() not in ("q", "Q"):
                pass
    except TimeoutError:
        return False
    return True
