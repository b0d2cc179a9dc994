"""While csnode restarts on every host that would do, a machine's start waits for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from unittest.mock import patch

import pytest

from csnode.clock import now, wall
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.job import Job
from csnode.testing.cloud import SimCloud
from csnode.testing.world import World as Whole
from roles.monitor.role import MonitorRole
from roles.monitor.watch import Watch
from roles.storage.drivers import sim as pools
from tests.sim.conftest import World
from tests.sim.test_cancel import cancel
from tests.sim.test_world import goods, played
from tests.sim.world import a_machine, agrees, first, gone, prepared, tear_down


@pytest.fixture
def unjudged() -> Generator[Callable[[], None]]:
    """Call it, and no monitor judges hosts any more: what is written of them stands."""
    never = patch.object(Watch, "judge", _judge_nobody)
    yield lambda: never.start() and None
    never.stop()


@pytest.fixture
def unmeasured() -> Generator[Callable[[], None]]:
    """Call it, and no monitor looks at pools any more: what is written of them stands."""
    never = patch.object(MonitorRole, "_measure_pool", _measure_nothing)
    yield lambda: never.start() and None
    never.stop()


async def _measure_nothing(_: MonitorRole, __: StoragePool) -> None:
    """Look at no pool."""


async def _judge_nobody(_: Watch, __: Callable[[Host], Awaitable[None]]) -> None:
    """Say nothing of any host."""


async def write(cloud: SimCloud, seen: Seen, since: float | None = None) -> None:
    """Of every host."""
    monitor = cloud.store.acting_as("monitor")
    for host in await cloud.store.find(Host):
        moment = wall() if since is None else since
        await monitor.observe(Host, host.id, seen=seen, seen_since=moment)


async def waits(cloud: SimCloud, job_id: str) -> None:
    """Let it look a few times; it neither ends nor goes on."""
    await asyncio.sleep(5)
    job = await cloud.store.get(Job, job_id)
    assert (job.open, "disks" in job.started) == (True, False)


@pytest.mark.parametrize("seen", [Seen.ALERT, Seen.CONNECTING])
def test_a_deploy_while_all_hosts_restart_is_done_once_one_is_up(
    world: World, unjudged: Callable[[], None], seen: Seen
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        unjudged()
        await write(cloud, seen)
        accepted = await cloud.call("deployVirtualMachine", **params)
        await waits(cloud, accepted["jobid"])
        await write(cloud, Seen.UP)
        job = await cloud.wait(accepted["jobid"])
        assert job["jobresult"]["virtualmachine"]["state"] == "Running"
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


async def pools_are_away(cloud: SimCloud, since: float) -> None:
    """Their hosts are Up: what serves the pools is another process."""
    await write(cloud, Seen.UP, wall() - 600)
    monitor = cloud.store.acting_as("monitor")
    for pool in await cloud.store.find(StoragePool):
        await monitor.observe(StoragePool, pool.id, up=False, away_since=since)


def test_a_deploy_while_what_serves_the_pools_restarts_is_done_once_one_is_up(
    world: World, unjudged: Callable[[], None], unmeasured: Callable[[], None]
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        unjudged()
        unmeasured()
        await pools_are_away(cloud, wall())
        accepted = await cloud.call("deployVirtualMachine", **params)
        await waits(cloud, accepted["jobid"])
        monitor = cloud.store.acting_as("monitor")
        for pool in await cloud.store.find(StoragePool):
            await monitor.observe(StoragePool, pool.id, up=True, away_since=0.0)
        job = await cloud.wait(accepted["jobid"])
        assert job["jobresult"]["virtualmachine"]["state"] == "Running"

    world(story)


def test_nobody_waits_for_pools_that_have_been_away_for_long(
    world: World, unjudged: Callable[[], None], unmeasured: Callable[[], None]
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        unjudged()
        unmeasured()
        await pools_are_away(cloud, wall() - 60)
        began = now()
        job = await cloud.settle("deployVirtualMachine", **params)
        assert "is not up" in job["jobresult"]["errortext"]
        assert now() - began < 5  # of virtual time

    world(story)


def test_a_pool_is_away_since_the_first_look_that_found_it_so(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await prepared(cloud)
        (row, *_) = await cloud.store.find(StoragePool)

        async def seen(up: bool) -> StoragePool:
            async with asyncio.timeout(300):
                while (found := await cloud.store.get(StoragePool, row.id)).up is not up:
                    await asyncio.sleep(0.5)
            return found

        pools.outside(row.id).failing.add("describe")
        first = await seen(False)
        assert wall() - 5 < first.away_since <= wall()
        await asyncio.sleep(120)
        assert (await seen(False)).away_since == first.away_since
        pools.outside(row.id).failing.clear()
        assert (await seen(True)).away_since == 0.0

    world(story)


def test_a_stopped_machine_starts_once_its_host_is_up_again(
    world: World, unjudged: Callable[[], None]
) -> None:
    """Its disk is in a pool that no other host reaches."""

    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        await cloud.settle("stopVirtualMachine", id=id)
        unjudged()
        await write(cloud, Seen.ALERT)
        accepted = await cloud.call("startVirtualMachine", id=id)
        await waits(cloud, accepted["jobid"])
        await write(cloud, Seen.UP)
        assert (await cloud.wait(accepted["jobid"]))["jobstatus"] == 1
        assert await agrees(cloud)

    world(story)


def test_a_deploy_fails_with_the_reason_if_no_host_comes_back(
    world: World, unjudged: Callable[[], None]
) -> None:
    """Also if hosts go on coming and going."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        unjudged()
        await write(cloud, Seen.ALERT)
        accepted = await cloud.call("deployVirtualMachine", **params)
        async with asyncio.timeout(60):
            while (await cloud.store.get(Job, accepted["jobid"])).open:
                await write(cloud, Seen.ALERT)
                await asyncio.sleep(1)
        job = await cloud.wait(accepted["jobid"])
        assert "is not Up but Alert" in job["jobresult"]["errortext"]
        await write(cloud, Seen.UP)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


@pytest.mark.parametrize(
    ("seen", "away_s"), [(Seen.DOWN, 0.0), (Seen.DISCONNECTED, 0.0), (Seen.ALERT, 60.0)]
)
def test_nobody_waits_for_a_host_that_is_not_restarting(
    world: World, unjudged: Callable[[], None], seen: Seen, away_s: float
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        unjudged()
        await write(cloud, seen, wall() - away_s)
        began = now()
        job = await cloud.settle("deployVirtualMachine", **params)
        assert f"is not Up but {seen}" in job["jobresult"]["errortext"]
        assert now() - began < 5  # of virtual time

    world(story)


def test_a_deploy_that_waits_for_its_hosts_can_be_cancelled(
    world: World, unjudged: Callable[[], None]
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        unjudged()
        await write(cloud, Seen.ALERT)
        accepted = await cloud.call("deployVirtualMachine", **params)
        await waits(cloud, accepted["jobid"])
        await cancel(cloud, accepted["jobid"])
        job = await cloud.wait(accepted["jobid"])
        assert job["jobresult"]["errortext"] == "cancelled by root"
        assert (await first(cloud, "listVirtualMachines"))["state"] == "Error"
        await write(cloud, Seen.UP)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_deploy_is_done_while_csnode_restarts_on_all_hosts() -> None:
    async def story(world: Whole) -> None:
        params = await goods(world)
        for name in ("host-1", "host-2"):
            await world.crash(name)

        async def are_away() -> bool:
            return all(host.seen is not Seen.UP for host in await world.store.find(Host))

        assert await world.until(are_away, 60)
        status, answer = await world.ask("api-1", "deployVirtualMachine", params)
        assert status == 200
        await asyncio.sleep(5)
        for name in ("host-1", "host-2"):
            world.start(name)

        async def is_over() -> bool:
            return not (await world.store.get(Job, answer["jobid"])).open

        assert await world.until(is_over, 120)
        assert (await world.store.get(Job, answer["jobid"])).fault == ""

    played(story)
