"""The process dies and another starts on the same database and the same hardware."""

from __future__ import annotations

import asyncio

import pytest

from csnode.plugins import entity_kinds
from csnode.testing.cloud import SimCloud
from tests.sim.conftest import World
from tests.sim.world import a_machine, first, leftovers, machines, prepared


def test_machines_run_on_while_the_process_is_gone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        await cloud.crash()
        await asyncio.sleep(3600)
        await cloud.start()
        assert await machines(cloud) == {id: "on"}
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Running"

    world(story)


@pytest.mark.parametrize("after_ms", [0, 20, 60, 120, 250, 400, 700])
def test_a_job_accepted_before_the_crash_ends_after_it(world: World, after_ms: int) -> None:
    slow = {"options": {"latency_s": 0.1}}

    async def story(cloud: SimCloud) -> None:
        accepted = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        await asyncio.sleep(after_ms / 1000)
        await cloud.crash()
        await cloud.start()
        job = await cloud.wait(accepted["jobid"], seconds=120)
        assert job["jobstatus"] == 1, job
        assert await machines(cloud) == {accepted["id"]: "on"}
        await cloud.settle("destroyVirtualMachine", id=accepted["id"], expunge="true")
        assert await leftovers(cloud) == []

    world(story, compute=slow, storage=slow, network=slow)


def test_one_seed_tells_one_story(world: World) -> None:
    async def story(cloud: SimCloud) -> list[str]:
        params = await prepared(cloud)
        for _ in range(5):
            await cloud.settle("deployVirtualMachine", **params)
        entries = await cloud.store.data.feed(0, tuple(entity_kinds()), 100_000)
        return [f"{kind} {e.number} {e.id} {e.revision} {e.row!r}" for kind, e in entries.entries]

    one, two = world(story, seed=7), world(story, seed=7)
    assert one == two
