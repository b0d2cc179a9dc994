"""What a view promises those who read it, whatever is asked of the data service meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from csnode.bus.event import Changed
from csnode.contracts.data import Delete
from csnode.data import follower
from csnode.data.view import View
from csnode.faults import NotFound, Unavailable
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import Cloud, updated, vm
from csnode.testing.data_feed import following
from roles.data.config import DataConfig
from tests.contract.data_writer import playing


class Gated:
    """A data service whose answers about heads are kept back until they are let go."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.gates: list[asyncio.Event] = []  # one a question, in their order
        self.gated = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        """The answer as it was when it was asked for."""
        found: tuple[int, ...] = await self.data.heads(kinds)
        if self.gated:
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()
        return found

    async def asked(self, times: int) -> None:
        """Wait until that many questions have their answers kept back."""
        while len(self.gates) < times:
            await asyncio.sleep(0)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncGenerator[Cloud]:
    """A data service in memory."""

    def serve(bus: Any, **settings: Any) -> Any:
        return playing(bus, DataConfig(path=":memory:", inline=True, **settings))

    cloud = Cloud(serve, tmp_path)
    await cloud.open()
    yield cloud
    await cloud.close()


@pytest.fixture
async def gated(cloud: Cloud) -> AsyncGenerator[tuple[Cloud, View, Gated]]:
    """A view that no event reaches, and what answers it."""
    gate: Any = Gated(cloud.store.data)
    cloud.store.data = gate
    async with following(cloud) as view:
        cloud.bus.deaf = True
        gate.gated = True
        yield cloud, view, gate
        gate.gated = False
        for each in gate.gates:
            each.set()


async def test_who_asks_while_a_question_is_under_way_sees_what_was_committed_before(
    gated: tuple[Cloud, View, Gated],
) -> None:
    """The question under way was answered before their commit: they need the next one."""
    cloud, view, gate = gated
    first = asyncio.create_task(view.fresh())
    await gate.asked(1)
    await cloud.create(vm("v1"))
    later = [asyncio.create_task(view.fresh()) for _ in range(3)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(gate.gates) == 1, "one question at a time"
    gate.gates[0].set()
    await first
    await gate.asked(2)
    assert not any(task.done() for task in later)
    gate.gated = False
    gate.gates[1].set()
    await asyncio.gather(*later)
    assert view.size(Vm) == 1
    assert len(gate.gates) == 2  # one question served all three


async def test_who_asks_while_the_next_question_is_under_way_waits_for_one_more(
    gated: tuple[Cloud, View, Gated],
) -> None:
    cloud, view, gate = gated
    first = asyncio.create_task(view.fresh())
    await gate.asked(1)
    second = asyncio.create_task(view.fresh())
    await asyncio.sleep(0)
    gate.gates[0].set()
    await gate.asked(2)
    await first
    await cloud.create(vm("v1"))
    third = asyncio.create_task(view.fresh())
    await asyncio.sleep(0)
    gate.gates[1].set()
    await second
    await gate.asked(3)
    assert not third.done()
    gate.gated = False
    gate.gates[2].set()
    await third
    assert view.size(Vm) == 1


async def test_whoever_gives_up_asking_does_not_end_the_question_of_others(
    gated: tuple[Cloud, View, Gated],
) -> None:
    cloud, view, gate = gated
    await cloud.create(vm("v1"))
    first, second = (asyncio.create_task(view.fresh()) for _ in range(2))
    await gate.asked(1)
    first.cancel()
    gate.gates[0].set()
    await gate.asked(2)
    gate.gated = False
    gate.gates[1].set()
    await second
    assert view.size(Vm) == 1


async def test_a_question_that_fails_is_asked_again_by_the_next_who_comes(
    gated: tuple[Cloud, View, Gated],
) -> None:
    cloud, view, gate = gated
    gate.gated = False
    await cloud.create(vm("v1"))
    data = gate.data
    gate.data = Away()
    with pytest.raises(Unavailable):
        await view.fresh()
    gate.data = data
    await view.fresh()
    assert view.size(Vm) == 1


class Away:
    """A data service that is not there."""

    def __getattr__(self, name: str) -> Any:
        async def refused(*_: Any) -> Any:
            raise Unavailable("the data service is away")

        return refused


async def test_what_was_reached_already_is_not_asked_for(
    gated: tuple[Cloud, View, Gated],
) -> None:
    cloud, view, gate = gated
    await view.reach(view.number)
    assert gate.gates == []
    gate.gated = False
    await cloud.create(vm("v1"))
    await view.reach(view.number + 1)
    assert view.size(Vm) == 1


# -- indexes and listeners ---------------------------------------------------------------------


async def test_an_index_follows_rows_that_change_and_go(cloud: Cloud) -> None:
    """One that keeps a deleted machine has its template refuse to be deleted for ever."""
    async with following(cloud) as view:
        await cloud.create(vm("v1"), vm("v2"))
        await view.fresh()

        def of(display: str) -> list[str]:
            return sorted(row.id for row in view.by(Vm, "display_name", display))

        assert (of(""), of("x")) == (["v1", "v2"], [])
        await cloud.commit(updated(Vm, "v1", display_name="x"))
        await view.fresh()
        assert (of(""), of("x")) == (["v2"], ["v1"])
        await cloud.commit(updated(Vm, "v2", name="renamed"))
        await view.fresh()
        assert [row.name for row in view.by(Vm, "display_name", "")] == ["renamed"]
        await cloud.commit(Delete(kind="vm", id="v1"), Delete(kind="vm", id="v2"))
        await view.fresh()
        assert (of(""), of("x"), view.size(Vm)) == ([], [], 0)
        assert view.maybe(Vm, "v1") is None
        with pytest.raises(NotFound):
            view.get(Vm, "v1")


async def test_an_index_that_is_asked_for_late_has_what_was_there_before(cloud: Cloud) -> None:
    await cloud.create(vm("v1"), Lock(id="l", job="j"))
    async with following(cloud) as view:
        assert [row.id for row in view.by(Vm, "name", "v1")] == ["v1"]
        assert view.by(Vm, "name", "l") == view.by(Zone, "name", "v1") == []
        assert view.maybe(Vm, None) is None


async def test_a_listener_is_told_of_each_change_once(cloud: Cloud) -> None:
    async with following(cloud) as view:
        told: list[tuple[str, str]] = []
        view.listen(Vm, lambda old, new: told.append((old and old.name, new and new.name)))
        await cloud.create(vm("v1"), Zone(id="z", name="z"))
        await cloud.commit(updated(Vm, "v1", name="x"))
        await view.fresh()
        await cloud.commit(Delete(kind="vm", id="v1"))
        await view.fresh()
        assert told == [(None, "v1"), ("v1", "x"), ("x", None)]


async def test_a_closed_view_follows_no_more(cloud: Cloud) -> None:
    async with following(cloud) as view:
        await cloud.create(vm("v1"))
        await view.fresh()
    await cloud.create(vm("v2"))
    await asyncio.sleep(0)
    assert view.size(Vm) == 1


# -- hints -------------------------------------------------------------------------------------


async def until(view: View, size: int) -> None:
    """Wait until the view has so many machines, though nobody asks it to be fresh."""
    async with asyncio.timeout(60):
        while view.size(Vm) != size:
            await asyncio.sleep(0)


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No view looks by itself: what it has, it has from events and what they made it ask."""
    monkeypatch.setattr(follower, "QUIET_S", 86_400.0)


@pytest.mark.usefixtures("unasked")
async def test_a_view_that_hears_of_a_head_beyond_its_own_asks_for_what_it_lacks(
    cloud: Cloud,
) -> None:
    async with following(cloud) as view:
        cloud.bus.lost = {"vm"}
        await cloud.create(vm("v1"))
        assert view.size(Vm) == 0
        await cloud.turn()  # the data service says how far it is
        await until(view, 1)


@pytest.mark.usefixtures("unasked")
async def test_an_event_of_two_kinds_that_shows_a_gap_in_one_is_not_taken_in(cloud: Cloud) -> None:
    """Else the view would believe that it has what it missed."""
    async with following(cloud) as view:
        cloud.bus.lost = {"vm"}
        await cloud.create(vm("missed"))
        cloud.bus.lost = set()
        await cloud.create(vm("heard"), Lock(id="l", job="j"))
        await until(view, 2)
        assert view.size(Lock) == 1


@pytest.mark.usefixtures("unasked")
async def test_a_view_that_follows_events_alone_is_not_behind(cloud: Cloud) -> None:
    """Rows that were made, changed and deleted are as the data service has them, without asking."""
    async with following(cloud) as view:
        await cloud.create(vm("v1"), vm("v2"), Lock(id="l", job="j"))
        await until(view, 2)
        await cloud.commit(updated(Vm, "v1", name="x"), Delete(kind="vm", id="v2"))
        await until(view, 1)
        assert view.get(Vm, "v1") == (await cloud.store.find(Vm))[0]


async def test_kinds_that_are_quiet_do_not_keep_a_view_from_having_what_was_committed(
    gated: tuple[Cloud, View, Gated],
) -> None:
    """Who waits for a number that the view has need not ask anybody."""
    cloud, view, gate = gated
    gate.gated = False
    await cloud.create(vm("v1"))
    await view.fresh()
    number = (await cloud.commit(updated(Vm, "v1", name="x"))).number
    await view.fresh()
    assert view.number == number
    gate.gated = True
    await view.reach(number)
    assert gate.gates == []


async def test_an_event_that_comes_twice_or_late_changes_nothing(cloud: Cloud) -> None:
    async with following(cloud) as view:
        heard: list[Changed] = []
        cloud.bus.subscribe(Changed, heard.append, "vm")
        await cloud.create(vm("v1"))
        await cloud.commit(updated(Vm, "v1", name="x"))
        await view.fresh()
        number = view.number
        for event in heard[::-1]:
            cloud.bus.publish(event)
        await asyncio.sleep(0)
        await view.fresh()
        assert (view.get(Vm, "v1").name, view.number) == ("x", number)


async def test_the_bus_lets_go_of_a_view_that_is_closed_or_could_not_open(cloud: Cloud) -> None:
    """Whoever waits for a data service tries with one view after another."""
    store: Any = cloud.store
    data = store.data
    kept: WeakSet[Any] = WeakSet()
    for there in (Away(), data):
        store.data = there
        view, listener = View(store, (Vm,)), Listener()
        view.listen(Vm, listener)
        kept |= {view, listener}  # it is forgotten with the rows that it would be told of
        with suppress(Unavailable):
            await view.open()
        view.close()
    del view, listener
    async with asyncio.timeout(60):
        while kept:
            await asyncio.sleep(0)
            gc.collect()


class Listener:
    """Is told of rows."""

    def __call__(self, old: Any, new: Any) -> None: ...


@pytest.mark.usefixtures("unasked")
async def test_a_view_that_could_not_open_follows_events_once_it_can(cloud: Cloud) -> None:
    store: Any = cloud.store
    data, store.data = store.data, Away()
    view = View(store, (Vm,))
    with pytest.raises(Unavailable):
        await view.open()
    store.data = data
    await view.open()
    await cloud.create(vm("v1"))
    await until(view, 1)
    view.close()


async def test_a_view_opens_only_with_a_data_service(cloud: Cloud) -> None:
    store: Any = cloud.store
    store.data = Away()
    view = View(store, (Vm,))
    with pytest.raises(Unavailable):
        await view.open()
    assert not view.opened
    assert view.number == 0
