"""A machine that was expunged while its host was off is known as ours when the feed forgot it."""

from __future__ import annotations

import asyncio

import pytest

from csnode.contracts.networking import Networking
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.network import Nic
from csnode.model.orders import ReturnHost
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.sweep import was_ours
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, VmId
from roles.compute.drivers import sim
from roles.storage.drivers import sim as pools
from tests.sim.conftest import World
from tests.sim.test_moved_and_lost import is_off, some, taken_back
from tests.sim.world import a_machine, agrees, gone, prepared, tear_down


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


async def expunged(cloud: SimCloud, vms: list[str]) -> None:
    for vm in vms:
        ended = await cloud.settle("destroyVirtualMachine", id=vm, expunge="true")
        assert ended["jobstatus"] == 1, ended


@pytest.mark.parametrize("left", ["all", "its machines"])
def test_what_was_taken_away_while_its_host_was_off_is_gone_before_it_is_used_again(
    world: World, left: str
) -> None:
    """Neither rows nor jobs nor the feed know it by then, and it is most of what is there."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        host = (await cloud.store.find(Host))[0].id
        vms = await some(cloud, params, host)
        [pool] = await cloud.store.find(StoragePool, host=host)
        disks = {row.id for row in await cloud.store.find(Volume)}
        ids = [*vms, *disks, *(row.id for row in await cloud.store.find(Nic))]
        await is_off(cloud, host)
        await expunged(cloud, vms)
        if left == "all":
            await tear_down(cloud)
        for id in ids:
            await forgotten(cloud, id)
        async with asyncio.timeout(600):
            while [vm for vm in vms if await was_ours(cloud.store, vm)]:
                await asyncio.sleep(5)
        await taken_back(cloud, host)
        assert not sim.outside(host).machines
        assert (pools.outside(pool.id).volumes, pools.outside(pool.id).aside) == ({}, set())
        seen = await cloud.node.bus.ask(Networking, at=host).survey()
        assert [nic for nics in seen.values() for nic in nics] == []
        for owner in (host, pool.id):
            assert not any((await cloud.store.get(Tally, owner)).used.values())
        await tear_down(cloud)
        assert await gone(cloud) == []

    # a sweep that takes a long time to be sure has no part in it
    patient = {"ghost_seconds": 36_000}
    short = {"data": {"feed_keep": 5}, "orchestrator": {"job_keep_seconds": 60}}
    world(story, **short, compute=patient, network=patient, storage=patient)
