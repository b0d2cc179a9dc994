"""Hosts are emptied for maintenance, and no machine ever stops for it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from csnode.model.host import Host
from csnode.model.job import Job, JobState
from csnode.model.network import Network
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import NetworkId, VmId
from roles.compute.drivers import sim
from roles.network.drivers import sim as networks
from tests.sim.conftest import World
from tests.sim.world import a_machine, agrees, first, gone, machines, tear_down


async def resource(cloud: SimCloud, host: str) -> str:
    return str((await first(cloud, "listHosts", id=host))["resourcestate"])


async def prepared(cloud: SimCloud, host: str) -> str:
    return str((await cloud.call("prepareHostForMaintenance", id=host))["jobid"])


async def home(cloud: SimCloud, vm: str) -> str:
    return str((await cloud.store.get(Vm, vm)).host)


def running(hosts: list[Host]) -> dict[str, list[str]]:
    """Every machine that really runs, and on which hosts."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        for vm in sim.outside(host.id).machines:
            found.setdefault(vm, []).append(host.id)
    return found


def test_a_host_goes_into_maintenance_empty(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vms = [await a_machine(cloud) for _ in range(6)]
        host = await home(cloud, vms[0])
        before = {vm for vm in vms if await home(cloud, vm) == host}
        job = await prepared(cloud, host)
        assert await resource(cloud, host) == "PrepareForMaintenance"
        ended = await cloud.wait(job)
        assert ended["jobstatus"] == 1, ended
        shown = ended["jobresult"]["host"]
        assert (shown["id"], shown["resourcestate"], shown["state"]) == (host, "Maintenance", "Up")
        assert before
        assert not sim.outside(host).machines
        hosts = await cloud.store.find(Host)
        assert set(running(hosts)) == set(vms)
        assert all(len(where) == 1 for where in running(hosts).values())
        new = await a_machine(cloud)
        assert await home(cloud, new) != host
        result = await cloud.call("cancelHostMaintenance", id=host)
        assert (await cloud.wait(str(result["jobid"])))["jobresult"]["host"]["id"] == host
        assert await resource(cloud, host) == "Enabled"
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_routers_leave_with_the_machines(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        (network,) = await cloud.store.find(Network)
        host = str(network.router)
        await cloud.wait(await prepared(cloud, host))
        after = await cloud.store.get(Network, network.id)
        assert after.up
        assert after.router not in (None, host)
        assert network.id not in networks.outside(host).routers
        nics = networks.outside(str(after.router)).nics[NetworkId(after.id)]
        assert [nic.vm for nic in nics.values()] == [vm]

    world(story)


def test_a_machine_that_cannot_move_is_not_stopped(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        host = await home(cloud, vm)
        for other in await cloud.store.find(Host):
            if other.id != host:
                await cloud.call("updateHost", id=other.id, allocationstate="Disable")
        ended = await cloud.wait(await prepared(cloud, host))
        assert ended["jobstatus"] == 2
        assert "is disabled" in ended["jobresult"]["errortext"]
        assert list(sim.outside(host).machines) == [vm]
        assert (await first(cloud, "listVirtualMachines", id=vm))["state"] == "Running"
        assert await resource(cloud, host) == "ErrorInPrepareForMaintenance"
        alert = await first(cloud, "listAlerts")
        assert "cannot go into maintenance" in alert["description"]
        again = await cloud.call("cancelHostMaintenance", id=host)
        await cloud.wait(str(again["jobid"]))
        assert await resource(cloud, host) == "Enabled"

    world(story)


def test_maintenance_is_called_off_in_the_middle(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        host = await home(cloud, vm)
        job = await prepared(cloud, host)
        async with asyncio.timeout(60):
            while not sim.outside(host).leaving[VmId(vm)]:
                await asyncio.sleep(0.1)
        await cloud.call("cancelHostMaintenance", id=host)
        assert (await cloud.wait(job))["jobstatus"] == 2
        async with asyncio.timeout(120):
            while any(j.open for j in await cloud.store.find(Job)):
                await asyncio.sleep(0.5)
        assert list(sim.outside(host).machines) == [vm]
        assert await resource(cloud, host) == "Enabled"
        assert await agrees(cloud)

    world(story, compute={"options": {"move_s": 30.0}})


@pytest.mark.parametrize("seed", range(8))
def test_no_evacuation_ever_stops_a_machine(world: World, seed: int) -> None:
    """Hosts of random states, machines of random sizes, crashes of everything in the middle."""
    chance = random.Random(seed)

    async def story(cloud: SimCloud) -> None:
        vms = [await a_machine(cloud) for _ in range(chance.randint(2, 8))]
        hosts = sorted(await cloud.store.find(Host), key=lambda h: h.name)
        for host in hosts[1:]:
            if chance.random() < 0.3:
                await cloud.call("updateHost", id=host.id, allocationstate="Disable")
        drained = chance.sample(hosts, chance.randint(1, 2))
        jobs = [await prepared(cloud, host.id) for host in drained]
        for _ in range(chance.randint(0, 2)):
            await asyncio.sleep(chance.uniform(0.1, 6.0))
            await cloud.crash()
            await cloud.start()
        for job in jobs:
            await cloud.wait(job)
        where = running(hosts)
        assert set(where) == set(vms)
        assert all(len(at) == 1 for at in where.values())
        for host in drained:
            row = await cloud.store.get(Host, host.id)
            left = [vm for vm, at in where.items() if at == [host.id]]
            assert row.maintenance == ("failed" if left else "on") or await late(cloud, row)
        assert await agrees(cloud)

    world(story, hosts=4, seed=seed, compute={"options": {"move_s": chance.uniform(0.1, 3.0)}})


async def late(cloud: SimCloud, host: Host) -> bool:
    """It failed for a machine's sake that has left by now, or for a router's."""
    evacuations = [j for j in await cloud.store.find(Job) if j.object_id == host.id]
    return host.maintenance == "failed" and any(j.state is JobState.FAILED for j in evacuations)


def test_a_host_is_removed_and_added_again(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        host = await cloud.store.get(Host, await home(cloud, vm))
        status, _ = await cloud.ask("deleteHost", id=host.id, forced="true")
        assert status == 431
        await cloud.wait(await prepared(cloud, host.id))
        await cloud.call("deleteHost", id=host.id)
        await asyncio.sleep(30)
        assert host.id not in [row.id for row in await cloud.store.find(Host)]
        wanted: dict[str, Any] = {
            "zoneid": host.zone, "podid": host.pod, "clusterid": host.cluster,
            "hypervisor": "Simulator", "url": f"http://{host.name}",
        }  # fmt: skip
        status, answer = await cloud.ask("addHost", **{**wanted, "url": "http://nobody"})
        assert status == 431
        assert "csnode join" in str(answer)
        await cloud.call("addHost", **wanted)
        async with asyncio.timeout(60):
            while (await first(cloud, "listHosts", id=host.id))["state"] != "Up":
                await asyncio.sleep(0.5)
        assert (await cloud.store.get(Host, host.id)).memory_mib == host.memory_mib
        assert await machines(cloud)

    world(story)
