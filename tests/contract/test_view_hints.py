"""What a view asks for, what it need not ask for, and how it finds itself at another database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Set
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from csnode.bus.event import Changed, Heads
from csnode.context import acting, current
from csnode.contracts.data import Delete
from csnode.data import follower
from csnode.data import view as views
from csnode.data.view import View
from csnode.faults import Invalid
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import Cloud, updated, vm
from csnode.testing.data_feed import following
from roles.data.config import DataConfig
from tests.contract.data_writer import playing

KINDS = (Vm, Lock)


class Counted:
    """A data service of which the questions are counted; `data` may be changed for another."""

    def __init__(self, data: Any) -> None:
        self.data, self.asked = data, Counter[str]()
        self.answering: asyncio.Event | None = None  # until then no answer about heads arrives
        self.unknown: Set[str] = frozenset()  # kinds that a data service of before does not know
        self.found: Callable[[str], Awaitable[None]] | None = None  # rows of that kind were read

    def __getattr__(self, name: str) -> Any:
        self.asked[name] += 1
        return getattr(self.data, name)

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        self.asked["heads"] += 1
        if set(kinds) & self.unknown:
            raise Invalid("an unknown kind")
        found: tuple[int, ...] = await self.data.heads(kinds)
        if self.answering is not None:
            await self.answering.wait()
        return found

    async def head(self, kinds: tuple[str, ...]) -> int:
        if set(kinds) & self.unknown:
            raise Invalid(f"no kind {kinds[0]}")
        found: int = await self.data.head(kinds)
        return found

    async def find(self, kind: str, where: Any, after: str, limit: int) -> Any:
        self.asked["find"] += 1
        if kind in self.unknown:
            raise Invalid(f"no kind {kind}")
        found = await self.data.find(kind, where, after, limit)
        if self.found is not None:
            await self.found(kind)
        return found


@asynccontextmanager
async def memory(folder: Path) -> AsyncGenerator[Cloud]:
    """A data service in memory."""

    def serve(bus: Any, **settings: Any) -> Any:
        return playing(bus, DataConfig(path=":memory:", inline=True, **settings))

    cloud = Cloud(serve, folder)
    await cloud.open()
    try:
        yield cloud
    finally:
        await cloud.close()


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncGenerator[Cloud]:
    async with memory(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def counted(cloud: Cloud) -> Counted:
    counted: Any = Counted(cloud.store.data)
    cloud.store.data = counted
    return counted


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No view looks by itself, and events that are due are waited for as long as it takes."""
    monkeypatch.setattr(follower, "QUIET_S", 86_400.0)
    monkeypatch.setattr(follower, "EVENTS_S", 15.0)
    monkeypatch.setattr(views, "CATCH_UP_S", 20.0)


async def until(view: View, size: int) -> None:
    """Wait until the view has so many machines, though nobody asks it to be fresh."""
    async with asyncio.timeout(15):
        while view.size(Vm) != size:
            await asyncio.sleep(0)


def kept_back(cloud: Cloud) -> tuple[list[tuple[Any, Changed]], Callable[[Any, Any], None]]:
    """The events of rows that are on their way from now on, and what delivers one."""
    late: list[tuple[Any, Changed]] = []
    bus: Any = cloud.bus
    deliver = bus._deliver

    def keep(handler: Any, event: Any) -> None:
        if isinstance(event, Changed):
            late.append((handler, event))
        else:
            deliver(handler, event)

    bus._deliver = keep
    return late, deliver


async def turns() -> None:
    """Let all that is due now happen."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_view_that_hears_of_everything_asks_for_nothing(
    cloud: Cloud, counted: Counted
) -> None:
    """One that asked at every event would have each role read the feed at each commit."""
    async with following(cloud) as view:
        counted.asked.clear()
        for number in range(5):
            await cloud.create(vm(f"v{number}"), Lock(id=f"l{number}", job="j"))
            await cloud.commit(updated(Vm, f"v{number}", name="x"))
            await until(view, number + 1)
            await cloud.turn()  # the data service says how far it is
            await turns()
        await cloud.commit(Delete(kind="vm", id="v0"))
        await until(view, 4)
        assert counted.asked == Counter()


async def test_events_that_are_on_their_way_are_waited_for_before_the_feed_is_asked(
    cloud: Cloud, counted: Counted
) -> None:
    async with following(cloud) as view:
        counted.asked.clear()
        late, deliver = kept_back(cloud)
        await cloud.create(vm("v1"))
        await cloud.create(vm("v2"))
        await turns()
        fresh = asyncio.create_task(view.fresh())
        assert len(late) == 2
        for number, event in enumerate(late, 1):
            await turns()
            assert not fresh.done()
            deliver(*event)
            await until(view, number)
        async with asyncio.timeout(15):
            await fresh
        assert view.size(Vm) == 2
        assert counted.asked == Counter({"heads": 1})


async def test_a_view_that_lacks_something_of_one_kind_is_not_as_far_as_another_kind_is(
    cloud: Cloud,
) -> None:
    """Whoever waits for the later number is to see what came before it."""
    async with following(cloud) as view:
        cloud.bus.lost = {"lock"}
        await cloud.create(Lock(id="l", job="j"))
        await cloud.create(vm("v1"))
        await until(view, 1)
        (number,) = await cloud.data.heads(("vm",))
        assert view.size(Lock) == 0
        assert view.number < number
        cloud.bus.deaf = True
        with pytest.MonkeyPatch.context() as hurried:
            hurried.setattr(follower, "EVENTS_S", 0.0)
            await view.reach(number)
        assert view.size(Lock) == 1


async def test_what_is_read_both_as_a_row_and_from_the_feed_is_told_of_once(
    cloud: Cloud, counted: Counted
) -> None:
    """It was committed after the view had asked how far the data service is."""
    view = View(cloud.store, KINDS)
    told: list[tuple[Any, Any]] = []
    view.listen(Vm, lambda old, new: told.append((old and old.id, new and new.id)))
    counted.answering = asyncio.Event()
    opening = asyncio.create_task(view.open())
    async with asyncio.timeout(15):
        while not counted.asked["heads"]:
            await asyncio.sleep(0)
    await turns()
    await cloud.create(vm("v1"))
    counted.answering.set()
    await opening
    await view.fresh()
    assert told == [(None, "v1")]
    view.close()


async def test_what_is_committed_while_rows_are_read_is_there_once_the_view_is_open(
    cloud: Cloud, counted: Counted
) -> None:
    """Its kind had been read already, and events are not heard before the view is open."""

    async def found(kind: str) -> None:
        counted.found = None
        await cloud.create(vm("v1"))

    counted.found = found
    async with following(cloud) as view:
        assert view.size(Vm) == 1
        assert view.number == max(await cloud.data.heads(("vm", "lock")))


async def test_a_view_of_a_kind_that_the_data_service_does_not_know_has_the_others(
    cloud: Cloud, counted: Counted
) -> None:
    """Another data service, of the next version, knows it: then its rows are there too."""
    cloud.bus.deaf = True
    await cloud.create(vm("v1"), Lock(id="l", job="j"))
    counted.unknown = {"lock"}
    async with following(cloud) as view:
        assert (view.size(Vm), view.size(Lock)) == (1, 0)
        with pytest.MonkeyPatch.context() as hurried:
            hurried.setattr(follower, "EVENTS_S", 0.0)
            await cloud.create(vm("v2"))
            await view.fresh()
            assert (view.size(Vm), view.size(Lock)) == (2, 0)
            number = view.number
            assert number == (await cloud.data.heads(("vm",)))[0]
            counted.unknown = frozenset()
            await view.fresh()
            assert (view.size(Vm), view.size(Lock)) == (2, 1)


async def test_a_closed_view_does_not_hear_what_was_on_its_way_to_it(cloud: Cloud) -> None:
    late, deliver = kept_back(cloud)
    async with following(cloud) as view:
        await cloud.create(vm("v1"))
        await turns()
    assert late
    for event in late:
        deliver(*event)
    await turns()
    assert view.size(Vm) == 0


async def test_listeners_are_called_in_the_context_that_the_view_was_opened_in(
    cloud: Cloud,
) -> None:
    """Nobody's call is answered there, whoever made the view and whoever wrote the row."""
    with acting(caller="maker"):
        view = View(cloud.store, KINDS)
    callers: list[str] = []
    view.listen(Vm, lambda old, new: callers.append(current().caller))
    with acting(caller="opener"):
        await view.open()
    cloud.bus.deaf = True
    with acting(caller="writer"):
        await cloud.create(vm("v1"))
        with pytest.MonkeyPatch.context() as hurried:
            hurried.setattr(follower, "EVENTS_S", 0.0)
            await view.fresh()
    assert callers == ["opener"]
    view.close()


# -- another database --------------------------------------------------------------------------


@asynccontextmanager
async def put_back(folder: Path, cloud: Cloud, counted: Counted) -> AsyncGenerator[View]:
    """A view of three machines whose data service is, from now on, one with one other machine."""
    await cloud.create(vm("v1"), vm("v2"))
    await cloud.create(vm("v3"))
    async with following(cloud) as view, memory(folder) as older:
        await older.create(vm("v2", name="as it was"))
        cloud.bus.deaf = True
        counted.data = older.data
        yield view


def named(view: View) -> dict[str, str]:
    return {row.id: row.name for row in view.all(Vm)}


async def test_whoever_asks_a_view_to_be_fresh_sees_the_rows_of_a_database_that_was_put_back(
    cloud: Cloud, counted: Counted, tmp_path: Path
) -> None:
    async with put_back(tmp_path / "older", cloud, counted) as view:
        await view.fresh()
        assert named(view) == {"v2": "as it was"}
        number = view.number
        await view.fresh()
        assert (named(view), view.number) == ({"v2": "as it was"}, number)


async def test_a_view_that_hears_of_a_lower_head_looks_and_reads_everything_anew(
    cloud: Cloud, counted: Counted, tmp_path: Path
) -> None:
    async with put_back(tmp_path / "older", cloud, counted) as view:
        heads = await counted.data.heads(("vm", "lock"))
        cloud.bus.deaf = False
        cloud.bus.publish(Heads(numbers=dict(zip(("vm", "lock"), heads, strict=True))))
        await until(view, 1)
        assert named(view) == {"v2": "as it was"}


async def test_a_head_that_is_only_late_has_nothing_read_anew(
    cloud: Cloud, counted: Counted
) -> None:
    async with following(cloud) as view:
        await cloud.create(vm("v1"))
        await until(view, 1)
        heads = await cloud.data.heads(("vm", "lock"))
        await cloud.create(vm("v2"))
        await until(view, 2)
        counted.asked.clear()
        cloud.bus.publish(Heads(numbers=dict(zip(("vm", "lock"), heads, strict=True))))
        async with asyncio.timeout(15):
            while not counted.asked["heads"]:
                await asyncio.sleep(0)
        await turns()
        assert sorted(named(view)) == ["v1", "v2"]
        assert counted.asked == Counter({"heads": 1})
