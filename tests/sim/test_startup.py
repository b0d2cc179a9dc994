"""Who starts while the data service is away waits for it, and for no other."""

from __future__ import annotations

import asyncio

import pytest

from csnode.testing.stranger import Stranger
from csnode.testing.world import World
from tests.sim.test_world import played

STARTING = ("api-2", "orc-1", "watch", "host-1")


@pytest.mark.parametrize("first_ms", [1, 20, 60])
def test_a_process_that_starts_while_the_data_service_is_killed_comes_up(first_ms: int) -> None:
    async def story(world: World) -> None:
        for turn in range(4):
            for name in STARTING:
                await world.crash(name)
            for name in STARTING:
                world.start(name)
            await asyncio.sleep(first_ms / 1000 * (1 + turn / 4))
            await world.crash("data")
            await asyncio.sleep(3.0 * turn)
            world.start("data")
            for again in range(3):  # it hardly comes up
                await asyncio.sleep(0.02 * (again + 1))
                await world.crash("data")
                world.start("data")
            await world.whole()
        told = [str(each) for each in world.timeline.happenings if "cannot run" in each.what]
        assert told == []

    played(story)


def test_who_starts_while_only_a_stranger_serves_waits_for_its_own_cloud() -> None:
    """The data process sleeps for a while, as one does whose host is suspended."""

    async def story(world: World) -> None:
        for name in STARTING:
            await world.crash(name)
        world.pause("data")
        async with Stranger(world):
            for name in STARTING:
                world.start(name)
            await asyncio.sleep(10)
            assert not any(world.processes[name].ready for name in STARTING)
            world.resume("data")
            await world.whole()

    played(story)
