"""An undo that is refused as out of date, by its own job's right, takes a later right and goes on.

Jobs of a host need none of its machines, and order them about: one that is taken back has domains
removed. So an undo that was refused is not that of somebody who lost his job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from csnode.context import acting
from csnode.contracts.compute import Compute
from csnode.faults import Refused
from csnode.model.host import Host
from csnode.model.job import Job, JobState
from csnode.model.vm import Vm
from csnode.saga.saga import Step
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, VmId
from roles.compute.drivers import sim
from tests.sim.conftest import World
from tests.sim.world import agrees, gone, machines, prepared, tear_down


def once(cloud: SimCloud, at: str, name: str, act: Callable[[], Awaitable[None]]) -> None:
    """Act at that moment of the step, the first time that it comes."""
    acts = [act]

    async def hook(moment: str, step: Step[Any]) -> None:
        if (moment, step.name) == (at, name) and acts:
            await acts.pop()()

    cloud.role("orchestrator").engine.hook = hook


def test_an_undo_goes_on_after_an_order_of_its_hosts_own_job(world: World) -> None:
    """A host that is taken back has its machines removed; theirs may be at work all the while."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        asked: list[HostId] = []

        async def removed() -> None:
            (row,) = await cloud.store.find(Vm)
            assert row.host is not None
            asked.append(row.host)
            change = cloud.store.acting_as("orchestrator").change()
            change.update(Vm, row.id, trouble="a later order")
            with acting(fence=(await change.commit()).number):
                await cloud.node.bus.ask(Compute, at=row.host).ensure_absent(VmId(row.id))

        once(cloud, "undo", "power", removed)
        for host in await cloud.store.find(Host):
            sim.outside(host.id).failing.add("ensure_running")
        made = await cloud.settle("deployVirtualMachine", **params)
        assert made["jobstatus"] == 2
        assert asked
        (job,) = [j for j in await cloud.store.find(Job) if j.verb == "deploy_vm"]
        assert job.state is JobState.FAILED, job.fault
        assert await machines(cloud) == {}
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_job_whose_undo_is_always_out_of_date_is_stuck_in_the_end(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)

        async def hook(moment: str, step: Step[Any]) -> None:
            if (moment, step.name) == ("undo", "power"):
                (row,) = await cloud.store.find(Vm)
                with acting(fence=1 << 39):
                    await cloud.node.bus.ask(Compute, at=row.host).outdate(VmId(row.id))
            if (moment, step.name) == ("before", "power"):
                raise Refused("a test says no")

        cloud.role("orchestrator").engine.hook = hook
        made = await cloud.settle("deployVirtualMachine", **params)
        assert made["jobstatus"] == 2
        (job,) = [j for j in await cloud.store.find(Job) if j.verb == "deploy_vm"]
        assert job.state is JobState.STUCK
        assert "out of date" in job.fault

    world(story)
