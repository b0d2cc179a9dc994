"""Machines move between hosts as they run; whatever goes wrong, each runs on exactly one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from csnode.model.fit import reservation
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, Power, VmId
from roles.compute.drivers import sim
from roles.storage.drivers import sim as pools
from tests.sim.conftest import World
from tests.sim.test_ghosts import Cut
from tests.sim.world import a_machine, agrees, first, gone, machines, tear_down

SLOW: dict[str, Any] = {"options": {"move_s": 30.0}}
SHARED: dict[str, Any] = {"shared": True, "name": "nfs1"}


async def row_of(cloud: SimCloud, vm: str) -> Vm:
    return await cloud.store.get(Vm, vm)


async def shown(cloud: SimCloud, vm: str) -> str:
    return str((await first(cloud, "listVirtualMachines", id=vm))["state"])


async def ordered(cloud: SimCloud, vm: str, **more: str) -> str:
    return str((await cloud.call("migrateVirtualMachine", virtualmachineid=vm, **more))["jobid"])


async def migrated(cloud: SimCloud, vm: str, **more: str) -> dict[str, Any]:
    return await cloud.wait(await ordered(cloud, vm, **more))


async def under_way(cloud: SimCloud, vm: str) -> tuple[HostId, HostId]:
    """From where to where it moves, once the source has begun to send it."""
    async with asyncio.timeout(60):
        while True:
            row = await row_of(cloud, vm)
            if row.host and row.moving_to and sim.outside(row.host).leaving[VmId(vm)]:
                return row.host, row.moving_to
            await asyncio.sleep(0.1)


async def others(cloud: SimCloud, not_this: str) -> list[str]:
    return [host.id for host in await cloud.store.find(Host) if host.id != not_this]


async def clean(cloud: SimCloud) -> None:
    """Records and hosts agree, and nothing is left once all is taken away."""
    assert await agrees(cloud)
    await tear_down(cloud)
    assert await gone(cloud) == []


def test_a_machine_moves_with_its_disk_and_runs_all_the_while(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        before = await row_of(cloud, vm)
        job = await ordered(cloud, vm)
        source, target = await under_way(cloud, vm)
        assert await shown(cloud, vm) == "Migrating"
        assert (await row_of(cloud, vm)).power is Power.ON
        assert (await cloud.wait(job))["jobresult"]["virtualmachine"]["hostid"] == target
        after = await row_of(cloud, vm)
        assert (before.host, after.host, after.last_host) == (source, target, source)
        assert (after.power, after.moving_to, after.maybe_on) == (Power.ON, None, (target,))
        assert await shown(cloud, vm) == "Running"
        assert list(sim.outside(target).machines) == [vm]
        assert not sim.outside(source).machines
        (volume,) = await cloud.store.find(Volume, vm=vm)
        pool = await cloud.store.get(StoragePool, str(volume.pool))
        assert pool.host == target
        held = {p.id for p in await cloud.store.find(StoragePool)
                if volume.id in pools.outside(p.id).volumes}  # fmt: skip
        assert held == {pool.id}
        assert (await cloud.store.get(Tally, source)).used["vm"] == 0
        events = await cloud.call("listEvents", type="VM.MIGRATE", listall="true")
        assert events["event"][0]["level"] == "INFO"
        await clean(cloud)

    world(story, compute=SLOW)


def test_on_a_shared_pool_no_byte_is_copied(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        (pool,) = await cloud.store.find(StoragePool)
        assert len(pool.hosts) == 3
        assert (await first(cloud, "listStoragePools"))["scope"] == "CLUSTER"
        found = await cloud.call("findHostsForMigration", virtualmachineid=vm)
        assert [host["requiresStorageMotion"] for host in found["host"]] == [False, False]
        source = str((await row_of(cloud, vm)).host)
        (disk,) = sim.outside(source).machines[VmId(vm)].domain.disks
        assert disk.shared
        target = (await others(cloud, source))[0]
        job = await migrated(cloud, vm, hostid=target)
        assert job["jobstatus"] == 1, job
        (arrived,) = sim.outside(target).machines[VmId(vm)].domain.disks
        assert arrived == disk
        await clean(cloud)

    world(story, storage=SHARED)


def test_a_failed_move_leaves_the_machine_running_where_it_was(world: World) -> None:
    failing = {"fail": 1.0, "fail_verbs": ["ensure_moved"], "fault": "Refused"}

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        before = await row_of(cloud, vm)
        job = await migrated(cloud, vm)
        assert job["jobstatus"] == 2
        after = await row_of(cloud, vm)
        assert (after.host, after.maybe_on) == (before.host, before.maybe_on)
        assert (after.power, after.moving_to) == (Power.ON, None)
        assert await machines(cloud) == {vm: "on"}
        await clean(cloud)

    world(story, compute={"options": failing})


def test_a_move_to_a_host_that_loses_its_power_leaves_the_machine_where_it_was(
    world: World,
) -> None:
    """As QEMU does: the source runs on until the target has said that it has it all."""

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        job = await ordered(cloud, vm)
        source, target = await under_way(cloud, vm)
        sim.outside(target).lose_power()
        assert (await cloud.wait(job))["jobstatus"] == 2
        after = await row_of(cloud, vm)
        assert (after.host, after.power, after.moving_to) == (source, Power.ON, None)
        assert not sim.outside(target).machines
        assert await machines(cloud) == {vm: "on"}
        await clean(cloud)

    world(story, compute=SLOW)


def test_a_cancelled_move_ends_where_it_began(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        job = await ordered(cloud, vm)
        source, target = await under_way(cloud, vm)
        await cloud.call("cancelAsyncJob", jobid=job)
        assert (await cloud.wait(job))["jobstatus"] == 2
        assert (await row_of(cloud, vm)).host == source
        assert not sim.outside(target).machines
        assert await machines(cloud) == {vm: "on"}
        await clean(cloud)

    world(story, compute=SLOW)


def test_a_process_that_dies_in_the_middle_ends_the_move_when_it_is_back(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        job = await ordered(cloud, vm)
        _, target = await under_way(cloud, vm)
        await cloud.crash()
        await asyncio.sleep(5)
        await cloud.start()
        assert (await cloud.wait(job))["jobstatus"] == 1
        assert (await row_of(cloud, vm)).host == target
        assert await machines(cloud) == {vm: "on"}
        await clean(cloud)

    world(story, compute=SLOW)


def test_a_source_that_cannot_be_asked_is_waited_for(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        source = str((await row_of(cloud, vm)).host)
        cut = Cut(cloud, source)
        job = await ordered(cloud, vm)
        await asyncio.sleep(600)
        answer = await cloud.call("queryAsyncJobResult", jobid=job)
        assert answer["jobstatus"] == 0  # nobody can say where it is
        row = await row_of(cloud, vm)
        assert row.maybe_on == (source, row.moving_to)
        cut.mend()
        assert (await cloud.wait(job))["jobstatus"] == 2
        assert (await row_of(cloud, vm)).host == source
        assert await machines(cloud) == {vm: "on"}
        await clean(cloud)

    world(story)


def test_a_guest_that_halts_on_its_way_stays_and_is_stopped(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        job = await ordered(cloud, vm)
        source, target = await under_way(cloud, vm)
        sim.outside(source).halt(VmId(vm))
        ended = await cloud.wait(job)
        assert "halted by itself" in ended["jobresult"]["errortext"]
        assert not sim.outside(target).machines
        assert await agrees(cloud)
        assert await shown(cloud, vm) == "Stopped"
        await clean(cloud)

    world(story, compute=SLOW)


def test_what_arrives_is_no_ghost(world: World) -> None:
    """A real host shows a machine that it is still receiving."""

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        job = await ordered(cloud, vm)
        source, target = await under_way(cloud, vm)
        sim.outside(target).start(sim.outside(source).machines[VmId(vm)].domain)
        await asyncio.sleep(100)
        assert sim.outside(target).machines[VmId(vm)].power is Power.ON
        assert (await row_of(cloud, vm)).moving_to == target
        assert not cloud.role("compute").troubles()
        assert (await cloud.wait(job))["jobstatus"] == 1
        await clean(cloud)

    world(story, compute={"options": {"move_s": 400.0}})


def test_six_machines_leave_one_host_at_once(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vms = [await a_machine(cloud) for _ in range(6)]
        (home,) = {(await row_of(cloud, vm)).host for vm in vms}
        change = cloud.store.change()
        for host in await others(cloud, str(home)):
            change.update(Host, host, enabled=True)
        change.update(Host, str(home), maintenance="preparing")
        await change.commit()
        ended = await asyncio.gather(*(migrated(cloud, vm) for vm in vms))
        assert [job["jobstatus"] for job in ended] == [1] * 6
        assert not sim.outside(str(home)).machines
        assert await machines(cloud) == dict.fromkeys(vms, "on")
        await clean(cloud)

    async def on_one_host(cloud: SimCloud) -> None:
        hosts = await cloud.store.find(Host)
        change = cloud.store.change()
        for host in hosts[1:]:
            change.update(Host, host.id, enabled=False)
        await change.commit()
        await story(cloud)

    world(on_one_host, compute=SLOW)


# -- what is refused -------------------------------------------------------------------------------


def refused(world: World, why: str, spoil: Callable[[SimCloud, Vm], Any], **more: Any) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        row = await row_of(cloud, vm)
        given: dict[str, str] = await spoil(cloud, row) or {}
        status, answer = await cloud.ask("migrateVirtualMachine", virtualmachineid=vm, **given)
        if status == 200:
            ended = await cloud.wait(answer["jobid"])
            assert ended["jobstatus"] == 2
            answer = ended["jobresult"]
        assert why in answer["errortext"]
        left = await row_of(cloud, vm)
        assert (left.host, left.moving_to, left.power) == (row.host, None, row.power)
        await clean(cloud)

    world(story, **more)


async def set_others(cloud: SimCloud, row: Vm, **columns: Any) -> None:
    change = cloud.store.change()
    for host in await others(cloud, str(row.host)):
        change.update(Host, host, **columns)
    await change.commit()


def test_a_host_in_maintenance_is_never_a_target(world: World) -> None:
    async def spoil(cloud: SimCloud, row: Vm) -> None:
        await set_others(cloud, row, maintenance="on")

    refused(world, "sim-0002: is in maintenance", spoil)


def test_where_nothing_fits_each_host_says_why(world: World) -> None:
    async def spoil(cloud: SimCloud, row: Vm) -> None:
        await set_others(cloud, row, enabled=False)

    refused(world, "is disabled", spoil)


def test_a_machine_does_not_move_to_where_it_is(world: World) -> None:
    async def spoil(_: SimCloud, row: Vm) -> dict[str, str]:
        return {"hostid": str(row.host)}

    refused(world, "already present on this host", spoil)


def test_disks_of_a_stopped_machine_are_not_moved(world: World) -> None:
    async def spoil(cloud: SimCloud, _: Vm) -> dict[str, str]:
        return {"storageid": (await cloud.store.find(StoragePool))[0].id}

    refused(world, "storageid", spoil)


def test_a_stopped_machine_is_not_migrated(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        await cloud.settle("stopVirtualMachine", id=vm)
        status, answer = await cloud.ask("migrateVirtualMachine", virtualmachineid=vm)
        assert (status, answer["cserrorcode"]) == (431, 4350)
        assert "not Running but Stopped" in answer["errortext"]
        jobs = await cloud.store.find(Job, object_id=vm)
        assert [job for job in jobs if job.verb == "migrate_vm"] == []

    world(story)


# -- where it may go -------------------------------------------------------------------------------


def test_hosts_are_found_with_what_speaks_against_them(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        far = await others(cloud, str((await row_of(cloud, vm)).host))
        change = cloud.store.change()
        change.update(Host, far[0], enabled=False)
        await change.commit()
        found = await cloud.call("findHostsForMigration", virtualmachineid=vm)
        by_id = {host["id"]: host for host in found["host"]}
        assert (set(by_id), found["count"]) == (set(far), 2)
        assert [by_id[id]["suitableformigration"] for id in far] == [False, True]
        assert by_id[far[0]]["unsuitablereason"] == "is disabled"
        assert "unsuitablereason" not in by_id[far[1]]
        assert by_id[far[1]]["requiresStorageMotion"] is True
        job = await migrated(cloud, vm)
        assert job["jobresult"]["virtualmachine"]["hostid"] == far[1]

    world(story)


def test_the_pool_of_a_disk_can_be_chosen(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        (volume,) = await cloud.store.find(Volume, vm=vm)
        far = await others(cloud, str((await row_of(cloud, vm)).host))
        (pool,) = await cloud.store.find(StoragePool, host=far[1])
        moved = {"migrateto[0].volume": volume.id, "migrateto[0].pool": pool.id}
        job = await cloud.settle("migrateVirtualMachineWithVolume", virtualmachineid=vm, **moved)
        assert job["jobresult"]["virtualmachine"]["hostid"] == far[1]
        assert (await cloud.store.get(Volume, volume.id)).pool == pool.id
        wrong = {"migrateto[0].volume": vm, "migrateto[0].pool": pool.id}
        status, answer = await cloud.ask(
            "migrateVirtualMachineWithVolume", virtualmachineid=vm, **wrong
        )
        assert (status, "no volume of the machine" in answer["errortext"]) == (431, True)
        await clean(cloud)

    world(story)


def test_a_stop_settles_a_machine_that_was_left_on_its_way(world: World) -> None:
    """As after a job that an operator gave up, or a row that was edited."""

    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        row = await row_of(cloud, vm)
        target = HostId((await others(cloud, str(row.host)))[0])
        change = cloud.store.acting_as("orchestrator").change()
        change.update(Vm, vm, moving_to=target, maybe_on=(*row.maybe_on, target))
        change.count(target, reservation(row))
        await change.commit()
        assert (await cloud.settle("stopVirtualMachine", id=vm))["jobstatus"] == 1
        left = await row_of(cloud, vm)
        assert (left.host, left.moving_to, left.maybe_on) == (None, None, ())
        await clean(cloud)

    world(story)
