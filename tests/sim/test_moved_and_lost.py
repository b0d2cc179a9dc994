"""A machine had moved when its new host went off, before the orchestrator knew that it had.

From the moment in which the source gave it away, all that its guest writes is in the copy. So its
rows say that it is there, whatever became of that host.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.clock import wall
from csnode.data.store import Store
from csnode.faults import Unavailable
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job, JobState
from csnode.model.orders import ReturnHost
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, Power, VmId
from roles.compute.drivers import sim
from roles.orchestrator.sagas.migrate_vm import has_moved
from roles.storage.drivers import sim as pools
from tests.sim.conftest import World
from tests.sim.test_renewed import once
from tests.sim.world import a_machine, agrees, gone, prepared, tear_down

SHARED: dict[str, Any] = {"shared": True, "name": "nfs1"}


@pytest.mark.parametrize(
    ("left", "there", "moved"),
    [
        (Power.ON, Power.ABSENT, False),
        (Power.ON, Power.ON, True),  # halted in mid-air: the source broke off at the very end
        (Power.ON, Power.OFF, False),
        (Power.ON, None, False),
        (Power.OFF, Power.OFF, False),
        (Power.OFF, None, False),
        (Power.ABSENT, Power.ABSENT, False),
        (Power.ABSENT, Power.OFF, True),
        (Power.ABSENT, Power.ON, True),
        (Power.ABSENT, None, True),
        (None, Power.ABSENT, False),
        (None, Power.OFF, True),
        (None, Power.ON, True),
        (None, None, False),
    ],
)
def test_it_is_where_it_was_to_go_if_its_two_hosts_say_so(
    left: Power | None, there: Power | None, moved: bool
) -> None:
    assert has_moved(left, there) is moved


async def is_off(cloud: SimCloud, host: str) -> None:
    """It lost its power, and is proven off."""
    sim.outside(host).lose_power()
    change = Store(cloud.node.bus, "orchestrator").change()
    change.update(Host, host, fenced=wall(), fence_proof="a test")
    await change.commit()


async def some(cloud: SimCloud, params: dict[str, str], host: str) -> list[str]:
    """Five machines of one host: more than its sweeps may ever take for strangers."""
    ordered = [await cloud.call("deployVirtualMachine", **params, hostid=host) for _ in range(5)]
    for asked in ordered:
        assert (await cloud.wait(asked["jobid"]))["jobstatus"] == 1
    return [asked["id"] for asked in ordered]


async def taken_back(cloud: SimCloud, host: str) -> None:
    change = cloud.store.acting_as("monitor").change()
    job = change.order(ReturnHost(host=HostId(host)))
    await change.commit()
    async with asyncio.timeout(600):
        while (await cloud.store.get(Job, job.id)).open:
            await asyncio.sleep(1)
    assert (await cloud.store.get(Job, job.id)).state is JobState.DONE
    assert not (await cloud.store.get(Host, host)).fenced


async def moved_and_lost(cloud: SimCloud, vm: str) -> tuple[str, str]:
    """Source and target of a machine whose target goes off once it has it, unknown to the job."""
    source = str((await cloud.store.get(Vm, vm)).host)
    target = next(h.id for h in await cloud.store.find(Host) if h.id != source)

    async def lost() -> None:
        assert list(sim.outside(target).machines) == [vm]
        await is_off(cloud, target)
        raise Unavailable("its answer was lost")

    once(cloud, "after", "power", lost)
    job = await cloud.settle("migrateVirtualMachine", virtualmachineid=vm, hostid=target)
    assert job["jobstatus"] == 2, job
    assert "was fenced" in job["jobresult"]["errortext"]
    return source, target


def test_it_starts_on_the_disk_that_its_guest_wrote_to_once_its_host_is_back(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        source, target = await moved_and_lost(cloud, vm)
        (volume,) = await cloud.store.find(Volume, vm=vm)
        pool = await cloud.store.get(StoragePool, str(volume.pool))
        assert pool.host == target
        assert volume.id in pools.outside(pool.id).volumes
        async with asyncio.timeout(60):
            while (await cloud.store.get(Vm, vm)).host is not None:
                await asyncio.sleep(1)
        await taken_back(cloud, target)
        assert (await cloud.settle("startVirtualMachine", id=vm))["jobstatus"] == 1
        after = await cloud.store.get(Vm, vm)
        assert (after.host, after.power) == (target, Power.ON)
        assert after.host != source
        assert await agrees(cloud)
        await tear_down(cloud)
        assert [what.partition(" ")[0] for what in await gone(cloud)] in ([], ["aside"])

    world(story)


def test_the_last_copy_that_can_be_reached_is_set_aside_and_not_deleted(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        (volume,) = await cloud.store.find(Volume, vm=vm)
        before = str(volume.pool)
        await moved_and_lost(cloud, vm)
        assert volume.id not in pools.outside(before).volumes
        assert [name.partition(".")[0] for name in pools.outside(before).aside] == [volume.id]

    world(story)


def test_one_to_be_kept_running_starts_elsewhere_on_its_shared_disk(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        made = await cloud.call(
            "createServiceOffering", name="kept", displaytext="kept", cpunumber="1",
            cpuspeed="500", memory="512", offerha="true",
        )  # fmt: skip
        params["serviceofferingid"] = made["serviceoffering"]["id"]
        vm = str((await cloud.settle("deployVirtualMachine", **params))
                 ["jobresult"]["virtualmachine"]["id"])  # fmt: skip
        _, target = await moved_and_lost(cloud, vm)

        async def on() -> list[str]:
            return [h.id for h in await cloud.store.find(Host)
                    if (m := sim.outside(h.id).machines.get(VmId(vm))) and m.power is Power.ON
                    ]  # fmt: skip

        async with asyncio.timeout(300):
            while not await on():
                await asyncio.sleep(1)
        assert target not in await on()
        assert [(await cloud.store.get(Vm, vm)).host] == await on()

    world(story, storage=SHARED)


def test_a_host_is_not_taken_back_before_a_machine_on_its_way_there_is_settled(
    world: World,
) -> None:
    """What is found of it on that host may be all that there is of it."""

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        source = str((await cloud.store.get(Vm, vm)).host)
        target = next(h.id for h in await cloud.store.find(Host) if h.id != source)
        asked = asyncio.Event()

        async def lost() -> None:
            await is_off(cloud, target)
            back = asyncio.create_task(taken_back(cloud, target))
            back.add_done_callback(lambda _: asked.set())
            await asyncio.sleep(20)  # of virtual time
            assert not asked.is_set()
            assert list(sim.outside(target).machines) == [vm]
            raise Unavailable("its answer was lost")

        once(cloud, "after", "power", lost)
        await cloud.settle("migrateVirtualMachine", virtualmachineid=vm, hostid=target)
        async with asyncio.timeout(600):
            await asked.wait()
        assert not (await cloud.store.get(Host, target)).fenced
        job = next(j for j in await cloud.store.find(Job, object_id=vm) if j.verb == "migrate_vm")
        assert job.state is not JobState.STUCK
        (volume,) = await cloud.store.find(Volume, vm=vm)
        assert (await cloud.store.get(StoragePool, str(volume.pool))).host == target
        assert await agrees(cloud)

    world(story)


def test_copies_of_many_moves_are_set_aside_when_the_host_is_taken_back(world: World) -> None:
    """The sweep alone would take so many strangers for a sign of the wrong database."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        source, target = [host.id for host in await cloud.store.find(Host)][:2]
        vms = await some(cloud, params, source)
        [row] = await cloud.store.find(StoragePool, host=target)
        pool = pools.outside(row.id)
        before = set(pool.volumes)
        moving = [
            await cloud.call("migrateVirtualMachine", virtualmachineid=vm, hostid=target)
            for vm in vms
        ]
        async with asyncio.timeout(60):
            while len(pool.volumes) < len(before) + len(moving):
                await asyncio.sleep(0.1)
        await is_off(cloud, target)
        for asked in moving:
            assert (await cloud.wait(asked["jobid"]))["jobstatus"] == 2
        await taken_back(cloud, target)
        assert set(pool.volumes) == before
        assert len(pool.aside) == len(moving)
        assert await agrees(cloud)

    world(story, compute={"options": {"move_s": 30.0}})


def test_copies_of_many_moves_are_set_aside_if_the_host_they_come_from_is_lost(
    world: World,
) -> None:
    """They may be the last; and the sweep alone would touch none of so many."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        source, target = [host.id for host in await cloud.store.find(Host)][:2]
        vms = await some(cloud, params, source)
        [row] = await cloud.store.find(StoragePool, host=target)
        pool = pools.outside(row.id)
        moving = [
            await cloud.call("migrateVirtualMachine", virtualmachineid=vm, hostid=target)
            for vm in vms
        ]
        async with asyncio.timeout(60):
            while len(pool.volumes) < len(moving):
                await asyncio.sleep(0.1)
        await is_off(cloud, source)
        for asked in moving:
            assert (await cloud.wait(asked["jobid"]))["jobstatus"] == 2
        assert not pool.volumes
        assert len(pool.aside) == len(moving)
        await taken_back(cloud, source)
        assert await agrees(cloud)

    world(story, compute={"options": {"move_s": 30.0}}, storage={"ghost_seconds": 36_000})
