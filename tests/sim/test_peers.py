"""Several orchestrators in one cloud: each knows the others by their leases, and they share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from csnode.data.store import Store
from csnode.model.ids import orchestrator_lease
from csnode.model.job import Job, JobState
from csnode.model.stock import Lease
from csnode.testing.cloud import SimCloud
from roles.orchestrator.config import OrchestratorConfig
from roles.orchestrator.role import OrchestratorRole
from tests.sim.conftest import World
from tests.sim.world import prepared

opened = asynccontextmanager(OrchestratorRole.opened)


def another(cloud: SimCloud, name: str) -> OrchestratorRole:
    """A second orchestrator, as another process would play it."""
    node, bus = replace(cloud.node.node, name=name), cloud.node.bus
    return OrchestratorRole(OrchestratorConfig(), node, bus, Store(bus, "orchestrator", name))


async def knows(role: Any, *peers: str) -> None:
    async with asyncio.timeout(60):
        while set(role.peers.alive()) != set(peers):
            await asyncio.sleep(0.1)


def test_orchestrators_see_each_other_by_their_leases(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        first, second = cloud.role("orchestrator"), another(cloud, "second")
        async with opened(second):
            both = {first.work.me, second.work.me}
            await knows(first, *both)
            await knows(second, *both)
        await knows(first, first.work.me)

    world(story)


def test_orchestrators_see_each_other_although_every_event_is_lost(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        first, second = cloud.role("orchestrator"), another(cloud, "second")
        cloud.node.bus.publish = lambda event: None  # type: ignore[method-assign]
        async with opened(second):
            for _ in range(40):
                await asyncio.gather(first.look(), second.look())
                await asyncio.sleep(1)
            both = {first.work.me, second.work.me}
            assert set(first.peers.alive()) == both
            assert set(second.peers.alive()) == both
        await knows(first, first.work.me)

    world(story)


def test_orchestrators_share_the_jobs(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        first, second = cloud.role("orchestrator"), another(cloud, "second")
        async with opened(second):
            for role in (first, second):
                await knows(role, first.work.me, second.work.me)
                await role.look()
            asked = [await cloud.call("deployVirtualMachine", **params) for _ in range(16)]
            for answer in asked:
                assert (await cloud.wait(answer["jobid"]))["jobstatus"] == 1
            done = [await cloud.store.get(Job, answer["jobid"]) for answer in asked]
            assert {job.owner for job in done} == {first.work.me, second.work.me}

    world(story)


def test_jobs_of_a_newer_version_are_left_to_whoever_has_their_saga(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        older, newer = cloud.role("orchestrator"), another(cloud, "newer")
        del older.engine._kinds["deploy_vm"]
        async with opened(newer):
            await knows(older, older.work.me, newer.work.me)
            asked = [await cloud.call("deployVirtualMachine", **params) for _ in range(8)]
            for _ in range(120):
                await newer.look()
                await asyncio.sleep(1)
            done = [await cloud.store.get(Job, answer["jobid"]) for answer in asked]
            assert {(job.state, job.owner) for job in done} == {(JobState.DONE, newer.work.me)}

    world(story)


def test_the_lease_of_a_dead_predecessor_delays_no_new_job(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        dead = cloud.role("orchestrator").work.me
        await cloud.crash()
        await cloud.start()
        alive = cloud.role("orchestrator")
        assert dead not in alive.peers.alive()
        job = await cloud.settle("deployVirtualMachine", **params)
        assert job["jobstatus"] == 1

    world(story)


def test_the_lease_of_an_orchestrator_that_ended_long_ago_is_forgotten(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        dead = cloud.role("orchestrator").work.me
        await cloud.crash()
        await cloud.start()
        held = [lease.id for lease in await cloud.store.find(Lease)]
        assert orchestrator_lease(dead) in held
        await asyncio.sleep(3700)
        await cloud.role("orchestrator").tidy_up()
        alive = orchestrator_lease(cloud.role("orchestrator").work.me)
        kept = [lease.id for lease in await cloud.store.find(Lease)]
        assert [name for name in kept if name.startswith("orchestrator/")] == [alive]

    world(story)
