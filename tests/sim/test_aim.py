"""A machine runs where an admin said, or not at all; what moves it later is not bound to that."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.model.host import Host
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from roles.compute.drivers import sim
from tests.sim.conftest import World
from tests.sim.test_host_failure import Cloud, played
from tests.sim.world import a_machine, agrees, first, machines, prepared

SHARED: dict[str, Any] = {"shared": True, "name": "nfs1"}


async def hosts(cloud: SimCloud) -> list[Host]:
    return sorted(await cloud.store.find(Host), key=lambda host: host.name)


async def there(host: Host) -> set[str]:
    """The machines that the host really has."""
    return set(sim.outside(host.id).machines)


def test_machines_go_where_they_are_told_although_others_are_emptier(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params, target = await prepared(cloud), (await hosts(cloud))[1]
        for _ in range(5):
            job = await cloud.settle("deployVirtualMachine", **params, hostid=target.id)
            shown = job["jobresult"]["virtualmachine"]
            assert shown["hostid"] == target.id
            assert shown["id"] in await there(target)
        assert len(await there(target)) == 5 == len(await machines(cloud))

    world(story)


def test_a_stopped_machine_starts_where_it_is_told(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        for host in await hosts(cloud):
            await cloud.settle("stopVirtualMachine", id=vm)
            job = await cloud.settle("startVirtualMachine", id=vm, hostid=host.id)
            assert job["jobstatus"] == 1, job
            assert await there(host) == {vm}
        assert await agrees(cloud)

    world(story, storage=SHARED)


def test_a_cluster_and_a_pod_are_kept_to(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params, target = await prepared(cloud), (await hosts(cloud))[2]
        made = await cloud.call(
            "addCluster", zoneid=target.zone, podid=target.pod, clustername="apart",
            hypervisor="Simulator", clustertype="CloudManaged",
        )  # fmt: skip
        apart, change = made["cluster"][0]["id"], cloud.store.change()
        change.update(Host, target.id, cluster=apart)
        await change.commit()
        for _ in range(4):
            job = await cloud.settle(
                "deployVirtualMachine", **params, clusterid=apart, podid=target.pod
            )
            assert job["jobresult"]["virtualmachine"]["hostid"] == target.id, job

    world(story)


def test_a_host_without_room_fails_the_job_with_its_name_and_takes_nothing(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params, target = await prepared(cloud), (await hosts(cloud))[0]
        made = await cloud.call(
            "createServiceOffering", name="half", displaytext="half", memory="256",
            cpunumber=str(target.cpus // 2 + 1), cpuspeed=str(target.cpu_mhz),
        )  # fmt: skip
        params["serviceofferingid"] = made["serviceoffering"]["id"]
        fits = await cloud.settle("deployVirtualMachine", **params, hostid=target.id)
        assert fits["jobstatus"] == 1, fits
        job = await cloud.settle("deployVirtualMachine", **params, hostid=target.id)
        assert job["jobstatus"] == 2
        why = job["jobresult"]["errortext"]
        asked, all = (target.cpus // 2 + 1) * target.cpu_mhz, target.cpus * target.cpu_mhz
        assert f"{target.name}: needs {asked} MHz, {all - asked} of {all} are free" in why
        assert not any(host.name in why for host in (await hosts(cloud))[1:])
        assert len(await machines(cloud)) == 1
        assert (await cloud.store.get(Tally, target.id)).used["vm"] == 1
        anywhere = await cloud.settle("deployVirtualMachine", **params)
        assert anywhere["jobresult"]["virtualmachine"]["hostid"] != target.id

    world(story)


def test_a_machine_whose_disk_is_elsewhere_stays_stopped_and_says_so(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        home = (await cloud.store.get(Vm, vm)).host
        other = next(host for host in await hosts(cloud) if host.id != home)
        await cloud.settle("stopVirtualMachine", id=vm)
        job = await cloud.settle("startVirtualMachine", id=vm, hostid=other.id)
        assert job["jobstatus"] == 2
        assert f"{other.name}: does not reach the machine's disks" in job["jobresult"]["errortext"]
        assert (await first(cloud, "listVirtualMachines", id=vm))["state"] == "Stopped"
        assert (await cloud.settle("startVirtualMachine", id=vm))["jobstatus"] == 1
        assert await agrees(cloud)

    world(story)


def test_a_start_that_finds_the_machine_running_elsewhere_fails_and_leaves_it(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        await cloud.settle("stopVirtualMachine", id=vm)
        one, two, _ = await hosts(cloud)
        before = await cloud.call("startVirtualMachine", id=vm, hostid=one.id)
        after = await cloud.call("startVirtualMachine", id=vm, hostid=two.id)
        same = await cloud.call("startVirtualMachine", id=vm, hostid=one.id)
        assert (await cloud.wait(before["jobid"]))["jobstatus"] == 1
        late = await cloud.wait(after["jobid"])
        assert late["jobstatus"] == 2
        assert f"runs on {one.name} already, not on {two.name}" in late["jobresult"]["errortext"]
        assert (await cloud.wait(same["jobid"]))["jobstatus"] == 1
        assert await there(one) == {vm}
        assert await machines(cloud) == {vm: "on"}
        assert await agrees(cloud)

    world(story, storage=SHARED, compute={"options": {"latency_s": 2.0}})


def test_a_host_that_closes_while_the_order_waits_fails_the_job(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        target = (await hosts(cloud))[0]
        stop = await cloud.call("stopVirtualMachine", id=vm)
        start = await cloud.call("startVirtualMachine", id=vm, hostid=target.id)
        await cloud.call("updateHost", id=target.id, allocationstate="Disable")
        await cloud.wait(stop["jobid"])
        job = await cloud.wait(start["jobid"])
        assert job["jobstatus"] == 2
        assert f"{target.name}: is disabled" in job["jobresult"]["errortext"]
        assert await machines(cloud) == {vm: "off"} or not await machines(cloud)

    world(story, storage=SHARED, compute={"options": {"latency_s": 2.0}})


def test_what_starts_a_machine_later_is_not_bound_to_the_host(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params, target = await prepared(cloud), (await hosts(cloud))[0]
        job = await cloud.settle("deployVirtualMachine", **params, hostid=target.id)
        vm = job["jobresult"]["virtualmachine"]["id"]
        await cloud.settle("stopVirtualMachine", id=vm)
        await cloud.call("updateHost", id=target.id, allocationstate="Disable")
        again = await cloud.settle("startVirtualMachine", id=vm)
        assert again["jobstatus"] == 1, again
        assert (await cloud.store.get(Vm, vm)).host not in (None, target.id)
        await asyncio.sleep(60)
        assert await agrees(cloud)

    world(story, storage=SHARED)


def test_after_its_host_died_a_machine_runs_on_another_than_it_was_put_on() -> None:
    async def story(cloud: Cloud) -> None:
        home = cloud.world.power.host("host-2")
        asked = await cloud.order(cloud.kept, hostid=home)
        assert await cloud.ended(asked["jobid"])
        assert cloud.on(asked["id"]) == ["host-2"]
        await cloud.power.cut("host-2")
        assert await cloud.runs_elsewhere(asked["id"], "host-2")
        await cloud.at_peace()

    played(story)
