"""A job that somebody cancels is undone, wherever it is; one that ended takes no notice."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.clock import now
from csnode.faults import Unavailable
from csnode.model.job import Cancel, Job, JobState
from csnode.model.stock import Lock
from csnode.model.vm import Vm, Want
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap
from tests.sim.conftest import World
from tests.sim.world import a_machine, agrees, first, gone, machines, prepared, tear_down

SLOW: dict[str, Any] = {"options": {"latency_s": 20.0}}


async def cancel(cloud: SimCloud, job_id: str) -> None:
    change = cloud.store.change()
    change.create(Cancel(id=job_id, by="root"))
    await change.commit()


async def reaches(cloud: SimCloud, job_id: str, step: str) -> None:
    while step not in (await cloud.store.get(Job, job_id)).started:
        await asyncio.sleep(0.1)


def test_a_job_at_work_is_interrupted_and_undone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        accepted = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        await reaches(cloud, accepted["jobid"], "power")
        began = now()
        await cancel(cloud, accepted["jobid"])
        job = await cloud.wait(accepted["jobid"])
        assert job["jobstatus"] == 2
        assert job["jobresult"]["errortext"] == "cancelled by root"
        assert now() - began < 60  # its host was at it still: the undo came after that
        assert (await first(cloud, "listVirtualMachines"))["state"] == "Error"
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, compute=SLOW)


def test_a_job_that_waits_behind_another_ends_before_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        deploy = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        stop = await cloud.call("stopVirtualMachine", id=deploy["id"])
        await reaches(cloud, deploy["jobid"], "power")
        await cancel(cloud, stop["jobid"])
        ended = await cloud.wait(stop["jobid"])
        assert ended["jobresult"]["errortext"] == "cancelled by root"
        assert (await cloud.store.get(Job, deploy["jobid"])).state is JobState.RUNNING
        locks = await cloud.store.find(Lock)
        assert [lock.job for lock in locks] == [deploy["jobid"]]
        assert (await cloud.wait(deploy["jobid"]))["jobstatus"] == 1
        assert await machines(cloud) == {deploy["id"]: "on"}
        assert await agrees(cloud)

    world(story, compute=SLOW)


def test_a_deploy_that_was_cancelled_before_anybody_claimed_it_says_so(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        work = cloud.role("orchestrator").work
        work.accepting = False
        accepted = await cloud.call("deployVirtualMachine", **params)
        await cancel(cloud, accepted["jobid"])
        await asyncio.sleep(10)
        assert (await cloud.store.get(Job, accepted["jobid"])).state is JobState.WAITING
        work.accepting = True
        assert (await cloud.wait(accepted["jobid"]))["jobstatus"] == 2
        vm = await cloud.store.get(Vm, accepted["id"])
        assert (vm.trouble, vm.want, vm.host) == ("cancelled by root", Want.STOPPED, None)
        assert (await cloud.store.get(Job, accepted["jobid"])).times == ()
        assert await agrees(cloud)

    world(story)


def test_a_cancelled_job_is_undone_although_its_orchestrator_died(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        accepted = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        await reaches(cloud, accepted["jobid"], "power")
        await cloud.crash()
        await cloud.start()
        await cancel(cloud, accepted["jobid"])
        job = await cloud.wait(accepted["jobid"])
        assert job["jobresult"]["errortext"] == "cancelled by root"
        assert await agrees(cloud)

    world(story, compute=SLOW)


def test_an_undo_at_work_is_not_interrupted(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        injector = Injector(Mishap.REFUSED, "power")
        injector.into(cloud.role("orchestrator").engine)
        accepted = await cloud.call("deployVirtualMachine", **params)
        while (await cloud.store.get(Job, accepted["jobid"])).state is not JobState.UNWINDING:
            await asyncio.sleep(0.1)
        await cancel(cloud, accepted["jobid"])
        job = await cloud.wait(accepted["jobid"])
        assert job["jobresult"]["errortext"] == "a test said no at power"
        assert await agrees(cloud)

    world(story, compute=SLOW, orchestrator={"places_max": 1})


def test_a_step_that_waits_to_be_tried_again_is_cancelled_at_once(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)

        async def hook(moment: str, step: object) -> None:
            if moment == "before" and str(step) == "power":
                raise Unavailable("a test keeps silent")

        cloud.role("orchestrator").engine.hook = hook
        stop = await cloud.call("stopVirtualMachine", id=id)
        await reaches(cloud, stop["jobid"], "power")
        await cancel(cloud, stop["jobid"])
        ended = await cloud.wait(stop["jobid"])
        assert ended["jobresult"]["errortext"] == "cancelled by root"
        assert await machines(cloud) == {id: "on"}
        assert (await cloud.store.get(Vm, id)).want is Want.RUNNING

    world(story)


def test_a_cancel_that_came_too_late_is_swept(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        job = (await cloud.store.find(Job, object_id=id))[0]
        await cancel(cloud, job.id)
        await asyncio.sleep(60)
        assert await cloud.store.find(Cancel) == []
        assert (await cloud.store.get(Job, job.id)).state is JobState.DONE
        assert await machines(cloud) == {id: "on"}

    world(story)
