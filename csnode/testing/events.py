"""How events reach views, whatever carries them. Subclass it and say where; see tests/contract.

The data service runs in a process of its own; the tests join its cloud, commit, and look at views.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from csnode.bus.event import Changed, Event
from csnode.config import Config
from csnode.contracts.data import Commit
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Unavailable
from csnode.model.place import Pod, Zone
from csnode.node import AnyBus, Node
from csnode.testing.data_cloud import created, updated
from csnode.types import Struct, ZoneId
from csnode.uuids import new_id

PATIENCE_S = 60.0


class Publisher(Protocol):
    """The process of the data service."""

    def restart(self) -> None:
        """Kill it with kill -9, and start it again."""
        ...


class Site(Struct):
    """A data service, and the configuration of processes that join its cloud."""

    publisher: Any
    file: Path


class Joined:
    """A process of the cloud that looks on and commits."""

    def __init__(self, bus: AnyBus) -> None:
        self.bus = bus
        self.store = Store(bus, "api", "test")

    async def commit(self, *changes: Any) -> int:
        """Commit until it is acknowledged; asking again with its token does it once."""
        commit = Commit(changes=changes, token=new_id(), by="api")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return (await self.store.commit(commit)).number
                except Unavailable:
                    await asyncio.sleep(0.05)

    async def zones(self, prefix: str, count: int) -> list[str]:
        """Make so many new zones, and a pod in each, which is changed once."""
        made = [f"{prefix}-{n}" for n in range(count)]
        for id in made:
            zone, pod = Zone(id=id, name=id), Pod(id=f"p-{id}", name=id, zone=ZoneId(id))
            await self.commit(created(zone), created(pod))
            await self.commit(updated(Pod, f"p-{id}", name=f"{id} again"))
        return made

    async def view(self) -> View:
        """Open a view of zones and pods."""
        view = View(self.store, (Zone, Pod))
        async with asyncio.timeout(PATIENCE_S):
            while not view.opened:
                try:
                    await view.open()
                except Unavailable:
                    await asyncio.sleep(0.05)
        return view


@asynccontextmanager
async def joined(file: Path) -> AsyncGenerator[Joined]:
    """Yield somebody in the cloud."""
    async with AsyncExitStack() as opened:
        yield Joined(await Node(Config.read(file, {}, {})).enter_bus(opened))


async def reaches(view: View, zones: Sequence[str]) -> None:
    """Wait until they are in the view, pods as they were changed; it is told by nothing else."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            pods = [view.maybe(Pod, f"p-{id}") for id in zones]
            if all(view.maybe(Zone, id) for id in zones) and all(
                pod is not None and pod.name.endswith("again") for pod in pods
            ):
                return
            await asyncio.sleep(0.02)


def thinned(bus: AnyBus, lost: Callable[[int], bool]) -> list[int]:
    """Lose some events on their way into the bus; the list grows with each lost."""
    local: Any = getattr(bus, "local", bus)
    publish, count, gone = local.publish, iter(range(10**9)), list[int]()

    def some(event: Event) -> None:
        number = next(count)
        if lost(number):
            gone.append(number)
        else:
            publish(event)

    local.publish = some
    return gone


class EventSuite:
    """Tests share the data service: each makes zones of its own."""

    @pytest.fixture
    def site(self) -> Site:
        """Yield a data service; the tests may share it."""
        raise NotImplementedError

    async def test_every_commit_is_told_in_the_order_of_its_kind(self, site: Site) -> None:
        async with joined(site.file) as here, joined(site.file) as there:
            told: dict[str, list[Changed]] = {"zone": [], "pod": []}
            for kind, events in told.items():
                there.bus.subscribe(Changed, events.append, kind)
            view = await there.view()
            await reaches(view, await here.zones("warm", 1))  # both are connected
            for events in told.values():
                events.clear()
            zones = await here.zones(new_id()[:8], 40)
            await reaches(view, zones)
            async with asyncio.timeout(PATIENCE_S):
                while sum(len(e.entries) for e in told["pod"]) < 80:
                    await asyncio.sleep(0.02)
            assert [e.id for event in told["zone"] for e in event.entries] == zones
            for events in told.values():
                numbers = [e.number for event in events for e in event.entries]
                assert numbers == sorted(set(numbers))
                for before, event in pairwise(events):
                    assert event.before == before.entries[-1].number
            view.close()

    async def test_lost_messages_cost_time_only(self, site: Site) -> None:
        async with joined(site.file) as here, joined(site.file) as there:
            gone = thinned(there.bus, lambda number: number % 3 == 1)
            view = await there.view()
            for _ in range(5):
                await reaches(view, await here.zones(new_id()[:8], 10))
            assert gone
            view.close()

    async def test_a_late_joiner_has_everything(self, site: Site) -> None:
        async with joined(site.file) as here:
            zones = await here.zones(new_id()[:8], 20)
            more = asyncio.create_task(here.zones(new_id()[:8], 60))
            async with joined(site.file) as late:
                view = await late.view()
                await reaches(view, zones)
                await reaches(view, await more)
                await same(late, view)

    async def test_a_publisher_that_is_killed_costs_time_only(self, site: Site) -> None:
        async with joined(site.file) as here, joined(site.file) as there:
            view = await there.view()
            for _ in range(3):
                work = asyncio.create_task(here.zones(new_id()[:8], 60))
                await reaches(view, await here.zones(new_id()[:8], 3))
                await asyncio.to_thread(site.publisher.restart)
                await reaches(view, await work)
            await same(there, view)
            view.close()


async def same(there: Joined, view: View) -> None:
    """Assert that the view is what the data service has."""
    await view.fresh()
    for kind in (Zone, Pod):
        rows = await there.store.find(kind)
        assert sorted(rows, key=lambda row: row.id) == sorted(view.all(kind), key=lambda r: r.id)
