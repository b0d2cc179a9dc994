"""Bytes of a disk that were wanted again are not taken away by an order from before.

A shared pool is served by many hosts, and each remembers only what it was asked itself. So an
order that arrives late at another of them is judged by the disk's row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from csnode.context import acting, current
from csnode.data.store import Store
from csnode.drivers.driver import Seat
from csnode.faults import Outdated
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.saga import Step
from csnode.testing.cloud import SimCloud
from csnode.types import VolumeId
from roles.compute.drivers import sim as hypervisors
from roles.network.drivers import sim as networks
from roles.storage.drivers import sim as pools
from roles.storage.drivers.sim import SimStorage
from roles.storage.pool import PoolStorage
from tests.sim.conftest import World
from tests.sim.world import a_machine, agrees, gone, prepared, tear_down

SHARED: dict[str, Any] = {"shared": True, "name": "nfs1"}


class Late:
    """Notes under which fence a step is undone, and acts at the end of that step's next try."""

    def __init__(self, cloud: SimCloud, step: str) -> None:
        self.fence, self.hits = 0, 0
        self.act: Callable[[], Awaitable[None]] | None = None
        self._step = step
        cloud.role("orchestrator").engine.hook = self._hook

    async def _hook(self, moment: str, step: Step[Any]) -> None:
        if step.name != self._step:
            return
        if moment == "undone":
            self.fence = current().fence
        if moment == "after" and self.fence and self.act is not None:
            act, self.act = self.act, None
            self.hits += 1
            await act()


async def is_refused_next_door(cloud: SimCloud, volume: Volume, pool: str, fence: int) -> None:
    """An order to drop it arrives at a host that never heard of the disk, and is not obeyed."""
    driver = SimStorage({}, Seat(id=pool, name="next door", address="", folder=""))
    async with driver:
        next_door = PoolStorage(driver, Store(cloud.node.bus, "storage"))
        with acting(fence=fence), pytest.raises(Outdated):
            await next_door.ensure_no_volume(VolumeId(volume.id))
    assert volume.id in pools.outside(pool).volumes


async def only_volume(cloud: SimCloud) -> Volume:
    (volume,) = await cloud.store.find(Volume)
    return volume


def test_the_disk_of_a_machine_that_was_tried_elsewhere_stays(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        for host in await cloud.store.find(Host):
            networks.outside(host.id).failing.add("ensure_plug")
        late = Late(cloud, "disks")

        async def arrives() -> None:
            for host in await cloud.store.find(Host):
                networks.outside(host.id).failing.clear()
            volume = await only_volume(cloud)
            assert not volume.ready  # its record is not written yet
            await is_refused_next_door(cloud, volume, str(volume.pool), late.fence)

        late.act = arrives
        made = await cloud.settle("deployVirtualMachine", **params)
        assert made["jobstatus"] == 1, made
        assert late.hits == 1
        volume = await only_volume(cloud)
        await is_refused_next_door(cloud, volume, str(volume.pool), late.fence)
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, storage=SHARED)


def test_the_disk_of_a_machine_that_was_recovered_stays(world: World) -> None:
    """An expunge was cut off when it had said that the disk goes, and before it had gone."""

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        volume = await only_volume(cloud)
        pool = str(volume.pool)
        pools.outside(pool).failing.add("ensure_no_volume")
        ended = await cloud.settle("destroyVirtualMachine", id=vm, expunge="true")
        assert ended["jobstatus"] == 2, ended
        pools.outside(pool).failing.clear()
        assert not (await only_volume(cloud)).ready
        fence = await cloud.store.data.head((Job.kind,))
        await cloud.call("recoverVirtualMachine", id=vm)
        assert (await cloud.settle("startVirtualMachine", id=vm))["jobstatus"] == 1
        assert (await only_volume(cloud)).ready
        await is_refused_next_door(cloud, volume, pool, fence)
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, storage=SHARED)


def test_the_copy_that_a_second_migration_makes_stays(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        source = str((await cloud.store.get(Vm, vm)).host)
        target = next(h.id for h in await cloud.store.find(Host) if h.id != source)
        (pool,) = [p.id for p in await cloud.store.find(StoragePool) if p.host == target]
        late = Late(cloud, "disks")
        hypervisors.outside(source).failing.add("ensure_moved")
        first = await cloud.settle("migrateVirtualMachine", virtualmachineid=vm, hostid=target)
        assert first["jobstatus"] == 2, first
        hypervisors.outside(source).failing.clear()

        async def arrives() -> None:
            await is_refused_next_door(cloud, await only_volume(cloud), pool, late.fence)

        late.act = arrives
        again = await cloud.settle("migrateVirtualMachine", virtualmachineid=vm, hostid=target)
        assert again["jobstatus"] == 1, again
        assert late.hits == 1
        await arrives()
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_an_order_that_is_not_late_drops_the_disk_wherever_it_arrives(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        volume = await only_volume(cloud)
        pool = str(volume.pool)
        await cloud.settle("stopVirtualMachine", id=vm)
        driver = SimStorage({}, Seat(id=pool, name="next door", address="", folder=""))
        async with driver, asyncio.timeout(60):
            next_door = PoolStorage(driver, Store(cloud.node.bus, "storage"))
            with acting(fence=await cloud.store.data.head((Job.kind,))):
                await next_door.ensure_no_volume(VolumeId(volume.id))
        assert volume.id not in pools.outside(pool).volumes
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, storage=SHARED)
