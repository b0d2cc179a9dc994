"""How often a view asks, and how long it waits for events: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from csnode.bus.event import Heads
from csnode.clock import now
from csnode.data.follower import EVENTS_S, QUIET_S, SURE
from csnode.data.view import CATCH_UP_S, View
from csnode.faults import Unavailable
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import Cloud, vm
from csnode.testing.loop import simulate
from tests.contract.test_view_hints import Counted, kept_back, memory

Story = Callable[[Cloud, Counted, View], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    """The story, with a view of machines and locks."""

    async def whole() -> None:
        async with memory(folder) as cloud:
            counted: Any = Counted(cloud.store.data)
            cloud.store.data = counted
            view = View(cloud.store, (Vm, Lock))
            await view.open()
            try:
                await story(cloud, counted, view)
            finally:
                view.close()

    simulate(whole())


def test_a_view_that_hears_nothing_looks_by_itself_every_few_seconds(tmp_path: Path) -> None:
    async def story(cloud: Cloud, counted: Counted, view: View) -> None:
        cloud.bus.deaf = True
        await cloud.create(vm("v1"))
        await asyncio.sleep(QUIET_S + 0.1)
        assert view.size(Vm) == 1
        counted.asked.clear()
        await asyncio.sleep(10 * QUIET_S)
        assert counted.asked == {"heads": 10}

    told(tmp_path, story)


@pytest.mark.parametrize("hears", ["rows", "heads"])
def test_a_view_that_hears_something_looks_by_itself_now_and_then(
    tmp_path: Path, hears: str
) -> None:
    """Every view of a large cloud would ask all the time, though nothing was missed."""

    async def story(cloud: Cloud, counted: Counted, view: View) -> None:
        async def speak() -> None:
            for number in range(1_000):
                if hears == "rows":
                    await cloud.create(vm(f"v{number}"))
                else:
                    cloud.bus.publish(Heads(numbers=dict.fromkeys(("vm", "lock"), view.number)))
                await asyncio.sleep(QUIET_S / 2)

        speaking = asyncio.create_task(speak())
        await asyncio.sleep(QUIET_S / 4)
        counted.asked.clear()
        await asyncio.sleep(3 * SURE * QUIET_S)
        assert counted.asked == {"heads": 3}
        speaking.cancel()
        await asyncio.sleep(2 * QUIET_S)
        counted.asked.clear()
        await asyncio.sleep(4 * QUIET_S)
        assert counted.asked["heads"] >= 3, "it is quiet now"

    told(tmp_path, story)


def test_events_are_waited_for_once_and_not_again_before_one_has_come(tmp_path: Path) -> None:
    async def story(cloud: Cloud, counted: Counted, view: View) -> None:
        async def took(name: str) -> float:
            await cloud.create(vm(name))
            began = now()
            await view.fresh()
            assert view.maybe(Vm, name) is not None
            return round(now() - began, 6)

        assert await took("heard") == 0
        cloud.bus.deaf = True
        assert [await took(name) for name in ("v1", "v2", "v3")] == [EVENTS_S, 0, 0]
        cloud.bus.deaf = False
        await cloud.create(vm("v4"))
        await asyncio.sleep(0.01)
        assert view.maybe(Vm, "v4") is not None
        cloud.bus.deaf = True
        assert [await took(name) for name in ("v5", "v6")] == [EVENTS_S, 0]

    told(tmp_path, story)


def test_an_event_that_is_a_little_late_is_waited_for_no_longer_than_it_takes(
    tmp_path: Path,
) -> None:
    async def story(cloud: Cloud, counted: Counted, view: View) -> None:
        late, deliver = kept_back(cloud)
        await cloud.create(vm("v1"))
        await asyncio.sleep(0.01)
        assert len(late) == 1
        asyncio.get_running_loop().call_later(EVENTS_S / 2, deliver, *late[0])
        counted.asked.clear()
        began = now()
        await asyncio.gather(view.fresh(), view.fresh())
        assert now() - began == pytest.approx(EVENTS_S / 2)
        assert counted.asked == {"heads": 2}
        assert view.size(Vm) == 1

    told(tmp_path, story)


def test_whoever_asks_is_told_in_time_that_the_data_service_does_not_answer(
    tmp_path: Path,
) -> None:
    async def story(cloud: Cloud, counted: Counted, view: View) -> None:
        counted.answering = asyncio.Event()
        for _ in range(2):
            began = now()
            with pytest.raises(Unavailable, match="cannot catch up"):
                await view.fresh()
            assert now() - began == CATCH_UP_S
        counted.answering.set()
        await cloud.create(vm("v1"))
        await view.fresh()
        assert view.size(Vm) == 1

    told(tmp_path, story)


def test_a_view_that_was_closed_asks_nobody(tmp_path: Path) -> None:
    async def story(cloud: Cloud, counted: Counted, view: View) -> None:
        view.close()
        counted.asked.clear()
        cloud.bus.publish(Heads(numbers={"vm": 10**6, "lock": 0}))
        await cloud.create(vm("v1"))
        await asyncio.sleep(20 * SURE * QUIET_S)
        assert counted.asked == {}
        assert view.size(Vm) == 0

    told(tmp_path, story)
