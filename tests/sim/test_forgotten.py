"""A machine that was expunged while its host was off is known as ours when the feed forgot it."""

from __future__ import annotations

import asyncio

from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.orders import ReturnHost
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, VmId
from roles.compute.drivers import sim
from tests.sim.conftest import World
from tests.sim.test_moved_and_lost import is_off
from tests.sim.world import a_machine, agrees, gone, tear_down


async def forgotten(cloud: SimCloud, id: str) -> None:
    """The feed has no entry of it any more."""
    (host, *_) = await cloud.store.find(Host)
    async with asyncio.timeout(7200):
        while await cloud.store.data.history(id, "", 1):
            await cloud.call("updateHost", id=host.id, annotation="")
            await asyncio.sleep(5)


async def left_behind(cloud: SimCloud) -> tuple[str, VmId]:
    """A host, and the machine whose domain is left there."""
    vm = VmId(await a_machine(cloud))
    host = str((await cloud.store.get(Vm, vm)).host)
    domain = sim.outside(host).machines[vm]
    ended = await cloud.settle("destroyVirtualMachine", id=vm, expunge="true")
    assert ended["jobstatus"] == 1, ended
    await forgotten(cloud, vm)
    sim.outside(host).machines[vm] = domain
    return host, vm


def test_its_host_removes_what_is_left_of_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        host, vm = await left_behind(cloud)
        async with asyncio.timeout(300):
            while vm in sim.outside(host).machines:
                await asyncio.sleep(1)
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, data={"feed_keep": 5})


def test_it_is_gone_before_its_host_is_used_again(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        host, vm = await left_behind(cloud)
        await is_off(cloud, host)
        change = cloud.store.acting_as("monitor").change()
        job = change.order(ReturnHost(host=HostId(host)))
        await change.commit()
        async with asyncio.timeout(300):
            while (await cloud.store.get(Job, job.id)).open:
                await asyncio.sleep(0.5)
        assert vm not in sim.outside(host).machines

    world(story, data={"feed_keep": 5}, compute={"ghost_seconds": 3600})


def test_what_no_job_and_no_feed_knows_is_left_alone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        host, vm = await left_behind(cloud)
        machine = sim.outside(host).machines.pop(vm)
        somebodys = VmId("00000000-1111-4222-8333-444444444444")
        sim.outside(host).machines[somebodys] = machine
        await asyncio.sleep(120)
        assert somebodys in sim.outside(host).machines

    world(story, data={"feed_keep": 5})
