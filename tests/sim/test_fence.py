"""A fence's proof counts only if the host did not come back while its fencer was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from csnode.data.store import Store
from csnode.model.host import Host, Seen
from csnode.model.job import Job, JobState
from csnode.model.orders import FenceHost
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import HostId
from tests.sim.conftest import World
from tests.sim.world import a_machine

PROOF = "its BMC says off"
During = Callable[[Store, str], Awaitable[None]]


async def fenced(cloud: SimCloud, vm: str, during: During) -> tuple[Host, Job]:
    """Host and job, once the machine's host seemed dead and `during` happened at its fencer."""
    host = str((await cloud.store.get(Vm, vm)).host)
    monitor = Store(cloud.node.bus, "monitor")

    async def fence(asked: HostId) -> str:
        assert asked == host
        await during(monitor, host)
        return PROOF

    cloud.role("fabric").power.fence = fence
    change = monitor.change()
    change.update(Host, host, seen=Seen.DOWN, seen_since=7.0, why="it is silent")
    ordered = change.order(FenceHost(host=HostId(host)))
    await change.commit()
    while (job := await cloud.store.get(Job, ordered.id)).open:
        await asyncio.sleep(1)
    return await cloud.store.get(Host, host), job


def test_a_host_that_came_back_while_its_fencer_was_asked_is_not_marked_fenced(
    world: World,
) -> None:
    """Machines may have started on it meanwhile: off is not what it is."""

    async def comes_back(monitor: Store, host: str) -> None:
        await monitor.observe(Host, host, seen=Seen.UP, seen_since=8.0, why="")

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        host, job = await fenced(cloud, vm, comes_back)
        assert (job.state, host.fenced, host.fence_proof) == (JobState.FAILED, 0.0, "")
        assert (await cloud.store.get(Vm, vm)).host == host.id

    world(story)


def test_a_host_that_came_and_went_while_its_fencer_was_asked_is_not_marked_fenced(
    world: World,
) -> None:
    async def comes_and_goes(monitor: Store, host: str) -> None:
        await monitor.observe(Host, host, seen=Seen.UP, seen_since=8.0, why="")
        await monitor.observe(Host, host, seen=Seen.DOWN, seen_since=9.0, why="it is silent")

    async def story(cloud: SimCloud) -> None:
        host, job = await fenced(cloud, await a_machine(cloud), comes_and_goes)
        assert (job.state, host.fenced) == (JobState.FAILED, 0.0)

    world(story)


def test_a_host_that_is_only_told_of_in_other_words_is_fenced(world: World) -> None:
    async def reworded(monitor: Store, host: str) -> None:
        await monitor.observe(Host, host, why="it is silent, and answers nobody")

    async def story(cloud: SimCloud) -> None:
        host, job = await fenced(cloud, await a_machine(cloud), reworded)
        assert (job.state, host.fence_proof) == (JobState.DONE, PROOF)
        assert host.fenced > 0

    world(story)
