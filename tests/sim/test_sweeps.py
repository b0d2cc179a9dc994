"""Drift outside is found and taken back; what may be somebody's is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.machine import GuestNetwork
from csnode.model.network import Network, Nic
from csnode.model.place import Zone
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from csnode.testing.hypervisor import tiny
from csnode.testing.network import guest_network, guest_nic
from csnode.types import HostId, NetworkId, NicId, PoolId, Power, TemplateId, VmId, VolumeId
from csnode.uuids import new_id
from roles.compute.drivers import sim as hypervisors
from roles.network.drivers import sim as networks
from roles.network.records import Records
from roles.storage.drivers import sim as pools
from tests.sim.conftest import Story, World
from tests.sim.world import a_machine, machines, prepared, volumes

ROLES = ("compute", "network", "storage")
OFTEN = {"sweep_seconds": 5.0, "ghost_seconds": 10.0}
SOON_S = 30.0  # some turns, and the patience of a sweep


@pytest.fixture
def world(world: World) -> World:  # pyright: ignore[reportGeneralTypeIssues]
    """As everywhere, but with sweeps that come often."""

    def play(story: Story, **sections: dict[str, Any]) -> Any:
        merged = {role: {**OFTEN, **sections.get(role, {})} for role in ROLES}
        return world(story, **merged)

    return play


async def hosts(cloud: SimCloud) -> list[str]:
    return [host.id for host in await cloud.store.find(Host)]


async def running(cloud: SimCloud) -> Vm:
    """The row of a new running machine."""
    return await cloud.store.get(Vm, await a_machine(cloud))


async def elsewhere(cloud: SimCloud, vm: Vm) -> str:
    """Some host that is not the machine's."""
    return next(id for id in await hosts(cloud) if id != vm.host)


async def network_of(cloud: SimCloud, vm: Vm) -> tuple[Network, Nic, networks.World]:
    """The machine's network and card, and what stands on the host of its router."""
    [nic] = await cloud.store.find(Nic, vm=vm.id)
    network = await cloud.store.get(Network, nic.network)
    assert network.router is not None
    return network, nic, networks.outside(network.router)


async def once_known(cloud: SimCloud, *ids: str) -> None:
    """There were machines of these ids, and there are no more."""
    like = await running(cloud)
    for id in ids:
        change = cloud.store.acting_as("orchestrator").change()
        change.create(replace(like, id=id, host=None, maybe_on=(), revision=0))
        await change.commit()
        change = cloud.store.change()
        change.delete(Vm, id)
        await change.commit()


def troubles(cloud: SimCloud, role: str) -> str:
    return " ".join(cloud.role(role).troubles())


def built(world: networks.World, network: GuestNetwork) -> None:
    """A router that nobody in the records asked for."""
    world.routers[network.network] = network
    world.nics[network.network] = {}
    world.bridges.add(network.network)


# -- machines ----------------------------------------------------------------------------------


def test_a_machine_nobody_knows_is_removed_after_a_while(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await running(cloud)
        ghost = tiny("ghost")
        await once_known(cloud, ghost.vm)
        hypervisors.outside(str(vm.host)).start(ghost)
        await asyncio.sleep(40)
        assert ghost.vm in await machines(cloud)
        await asyncio.sleep(40)
        assert ghost.vm not in await machines(cloud)
        assert vm.id in await machines(cloud)

    world(story, compute={"ghost_seconds": 60})


def test_a_machine_this_cloud_never_knew_is_left_and_told_of(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        ghost = tiny("ghost")
        hypervisors.outside((await hosts(cloud))[0]).start(ghost)
        await asyncio.sleep(120)
        assert await machines(cloud) == {ghost.vm: "on"}
        assert f"that this cloud never knew: {ghost.vm}" in troubles(cloud, "compute")
        hypervisors.outside((await hosts(cloud))[0]).forget(ghost.vm)
        await asyncio.sleep(60)
        assert troubles(cloud, "compute") == ""

    world(story)


def test_a_machine_that_runs_twice_ends_where_it_does_not_belong(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await running(cloud)
        right = hypervisors.outside(str(vm.host))
        wrong = hypervisors.outside(await elsewhere(cloud, vm))
        wrong.start(right.machines[VmId(vm.id)].domain)
        await asyncio.sleep(SOON_S)
        assert wrong.machines == {}
        assert right.machines[VmId(vm.id)].power is Power.ON
        assert (await cloud.store.get(Vm, vm.id)).power is Power.ON

    world(story)


def test_a_ghost_stays_while_a_job_has_its_machine(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        asked = await cloud.call("deployVirtualMachine", **params)
        await asyncio.sleep(10)
        [vm] = await cloud.store.find(Vm)
        ghost = replace(tiny("ghost"), vm=VmId(vm.id))
        wrong = hypervisors.outside(await elsewhere(cloud, vm))
        wrong.start(ghost)
        await asyncio.sleep(SOON_S)
        assert (await cloud.store.get(Job, asked["jobid"])).open
        assert ghost.vm in wrong.machines
        assert (await cloud.wait(asked["jobid"]))["jobstatus"] == 1
        await asyncio.sleep(SOON_S)
        assert wrong.machines == {}
        assert await machines(cloud) == {vm.id: "on"}

    world(story, network={"options": {"latency_s": 20}})


def test_a_ghost_that_gets_a_record_in_time_stays(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await running(cloud)
        old, new = hypervisors.outside(str(vm.host)), await elsewhere(cloud, vm)
        machine = old.machines.pop(VmId(vm.id))
        hypervisors.outside(new).start(machine.domain)
        await cloud.store.acting_as("orchestrator").observe(Vm, vm.id, host=new)
        await asyncio.sleep(SOON_S)
        assert await machines(cloud) == {vm.id: "on"}
        assert (await cloud.store.get(Vm, vm.id)).power is Power.ON

    world(story)


def test_many_ghosts_at_once_mean_the_wrong_database_and_are_left(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        host = (await hosts(cloud))[0]
        there = hypervisors.outside(host)
        ghosts = [tiny(str(number)) for number in range(5)]
        for ghost in ghosts:
            there.start(ghost)
        await asyncio.sleep(SOON_S)
        assert len(there.machines) == 5
        assert f"5 of 5 machines on host {host} are in no record" in troubles(cloud, "compute")
        await once_known(cloud, *(ghost.vm for ghost in ghosts))
        for ghost in ghosts[:2]:
            there.forget(ghost.vm)
        await asyncio.sleep(SOON_S)
        assert not {ghost.vm for ghost in ghosts} & set(there.machines)
        assert troubles(cloud, "compute") == ""

    world(story)


# -- disks -------------------------------------------------------------------------------------


def test_a_volume_nobody_knows_is_set_aside_and_never_deleted(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await running(cloud)
        before = await volumes(cloud)
        [volume] = await cloud.store.find(Volume)
        pool, stray = pools.outside(str(volume.pool)), VolumeId(new_id())
        pool.volumes[stray] = None
        await asyncio.sleep(SOON_S)
        assert await volumes(cloud) == before
        assert [stray in name for name in pool.aside] == [True]

    world(story)


def test_a_second_copy_of_a_volume_in_another_pool_is_set_aside(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await running(cloud)
        [volume] = await cloud.store.find(Volume)
        other = next(p.id for p in await cloud.store.find(StoragePool) if p.id != volume.pool)
        pools.outside(other).volumes[VolumeId(volume.id)] = None
        await asyncio.sleep(SOON_S)
        assert pools.outside(other).volumes == {}
        assert VolumeId(volume.id) in pools.outside(str(volume.pool)).volumes

    world(story)


def test_an_image_nobody_knows_is_set_aside_unless_a_volume_stands_on_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await running(cloud)
        [volume] = await cloud.store.find(Volume)
        pool = pools.outside(str(volume.pool))
        known, stray, needed = set(pool.images), TemplateId(new_id()), TemplateId(new_id())
        pool.images |= {stray, needed}
        pool.volumes[VolumeId(volume.id)] = needed
        await asyncio.sleep(SOON_S)
        assert pool.images == known | {needed}
        assert [stray in name for name in pool.aside] == [True]

    world(story)


def test_a_volume_stays_while_a_job_has_its_machine(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        asked = await cloud.call("deployVirtualMachine", **params)
        await asyncio.sleep(10)
        [volume] = await cloud.store.find(Volume)
        pool = pools.outside(str(volume.pool))
        assert VolumeId(volume.id) in pool.volumes
        await cloud.store.acting_as("orchestrator").observe(Volume, volume.id, pool=None)
        await asyncio.sleep(SOON_S)
        assert VolumeId(volume.id) in pool.volumes
        await cloud.wait(asked["jobid"])
        await asyncio.sleep(SOON_S)
        assert VolumeId(volume.id) not in pool.volumes
        assert [volume.id in name for name in pool.aside] == [True]

    world(story, compute={"options": {"latency_s": 60}})


def test_many_unknown_volumes_mean_the_wrong_database_and_are_left(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = PoolId((await cloud.store.find(StoragePool))[0].id)
        pool = pools.outside(id)
        pool.volumes |= {VolumeId(new_id()): None for _ in range(4)}
        await asyncio.sleep(SOON_S)
        assert (len(pool.volumes), len(pool.aside)) == (4, 0)
        assert f"4 of 4 volumes on pool {id} are in no record" in troubles(cloud, "storage")

    world(story)


def test_what_jobs_left_on_a_pool_is_set_aside_however_much_it_is(world: World) -> None:
    """A deploy that is undone while its host is off cannot take its disks away."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        for _ in range(6):
            await cloud.settle("deployVirtualMachine", **params, startvm="false")
        rows = await cloud.store.find(Volume)
        pool = pools.outside((await cloud.store.find(StoragePool))[0].id)
        change = cloud.store.acting_as("orchestrator").change()
        for row in rows[:3]:
            change.update(Volume, row.id, pool=None, ready=False)
        for row in rows[3:]:
            change.delete(Volume, row.id)
        await change.commit()
        for row in rows:
            pool.volumes[VolumeId(row.id)] = None
        await asyncio.sleep(SOON_S)
        assert sorted(name[:36] for name in pool.aside) == sorted(row.id for row in rows)
        assert troubles(cloud, "storage") == ""

    world(story)


# -- networks ----------------------------------------------------------------------------------


def test_a_network_nobody_has_is_removed_but_not_while_machines_are_plugged_in(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        there = networks.outside((await hosts(cloud))[0])
        stray, busy = guest_network(1), guest_network(2)
        for network in (stray, busy):
            built(there, network)
        bridge = NetworkId(new_id())
        there.bridges.add(bridge)
        there.plugged.add(busy.network)
        await asyncio.sleep(SOON_S)
        assert there.bridges == set(there.routers) == {busy.network}
        there.plugged.clear()
        await asyncio.sleep(SOON_S)
        assert there.bridges == set(there.routers) == set()

    world(story)


def test_bridges_that_machines_left_go_however_many_and_routers_are_told_meanwhile(
    world: World,
) -> None:
    """A bridge alone is no sign of a wrong database: any machine that comes has it made anew."""

    async def story(cloud: SimCloud) -> None:
        network, _, there = await network_of(cloud, await running(cloud))
        there.bridges |= {NetworkId(new_id()) for _ in range(6)}
        change = cloud.store.acting_as("api").change()
        change.update(Zone, network.zone, dns1="192.0.2.7")
        await change.commit()
        await asyncio.sleep(2 * OFTEN["sweep_seconds"])
        assert there.routers[NetworkId(network.id)].dns == ("192.0.2.7",)
        await asyncio.sleep(SOON_S)
        assert there.bridges == {network.id}
        assert troubles(cloud, "network") == ""

    world(story)


def test_a_second_router_is_removed_and_the_first_stays(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        network, nic, right = await network_of(cloud, await running(cloud))
        wrong = networks.outside(next(h for h in await hosts(cloud) if h != network.router))
        built(wrong, right.routers[NetworkId(network.id)])
        await asyncio.sleep(SOON_S)
        assert (wrong.routers, wrong.bridges) == ({}, set())
        assert set(right.nics[NetworkId(network.id)]) == {nic.id}

    world(story)


@pytest.mark.parametrize("broken", [False, True])
def test_a_second_router_is_removed_at_once_where_machines_are_plugged_in(
    world: World, broken: bool
) -> None:
    """As on a host that lost its power, whose networks have their routers elsewhere since."""

    async def story(cloud: SimCloud) -> None:
        vm = await running(cloud)
        network, nic, right = await network_of(cloud, vm)
        id, there = NetworkId(network.id), await elsewhere(cloud, vm)
        wrong = networks.outside(there)
        built(wrong, right.routers[id])
        wrong.plugged.add(id)
        if broken:
            wrong.cut.add(id)
        await asyncio.sleep(2 * OFTEN["sweep_seconds"])  # less than a stranger is given
        assert (wrong.routers, wrong.bridges) == ({}, {id})
        assert set(right.nics[id]) == {nic.id}

    world(story, network={"ghost_seconds": 1000.0})


def test_a_machine_far_from_its_router_keeps_its_bridge(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        for _ in range(6):
            assert (await cloud.settle("deployVirtualMachine", **params))["jobstatus"] == 1
        [network] = await cloud.store.find(Network)
        used = {str(vm.host) for vm in await cloud.store.find(Vm)}
        assert len(used) > 1
        await asyncio.sleep(SOON_S)
        assert {h for h in await hosts(cloud) if networks.outside(h).bridges} == used | {
            str(network.router)
        }

    world(story)


def test_a_router_that_was_told_otherwise_is_told_again(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        network, _, there = await network_of(cloud, await running(cloud))
        id = NetworkId(network.id)
        before = there.routers[id]
        there.routers[id] = replace(before, public_address="198.51.100.222", dns=("9.9.9.9",))
        await asyncio.sleep(SOON_S)
        assert there.routers[id] == before

    world(story)


def test_a_router_that_is_gone_comes_back_with_the_cards_of_running_machines(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        vm, stopped = await running(cloud), await running(cloud)
        assert (await cloud.settle("stopVirtualMachine", id=stopped.id))["jobstatus"] == 1
        network, nic, there = await network_of(cloud, vm)
        id = NetworkId(network.id)
        router, card = there.routers.pop(id), there.nics.pop(id)[NicId(nic.id)]
        there.bridges.clear()
        await asyncio.sleep(SOON_S)
        assert there.routers == {id: router}
        assert there.nics == {id: {NicId(nic.id): card}}

    world(story)


def test_a_router_that_does_not_work_is_mended(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        network, _, there = await network_of(cloud, await running(cloud))
        there.cut.add(NetworkId(network.id))
        await asyncio.sleep(SOON_S)
        assert there.cut == set()

    world(story)


@pytest.mark.parametrize("drift", ["missing", "other address", "other machine"])
def test_the_card_of_a_running_machine_is_told_again(world: World, drift: str) -> None:
    async def story(cloud: SimCloud) -> None:
        network, nic, there = await network_of(cloud, await running(cloud))
        cards = there.nics[NetworkId(network.id)]
        before = cards.pop(NicId(nic.id))
        if drift == "other address":
            cards[before.nic] = replace(before, address="10.1.1.200")
        elif drift == "other machine":
            cards[before.nic] = replace(before, vm=VmId(new_id()))
        await asyncio.sleep(SOON_S)
        assert cards == {before.nic: before}

    world(story)


def test_a_card_nobody_has_is_removed_after_a_while(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        network, nic, there = await network_of(cloud, await running(cloud))
        cards = there.nics[NetworkId(network.id)]
        stray = guest_nic(there.routers[NetworkId(network.id)], 99)
        cards[stray.nic] = stray
        await asyncio.sleep(4)
        assert stray.nic in cards
        await asyncio.sleep(SOON_S)
        assert set(cards) == {nic.id}

    world(story)


def test_a_card_stays_while_a_job_has_its_machine(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        asked = await cloud.call("deployVirtualMachine", **params)
        await asyncio.sleep(10)
        [vm] = await cloud.store.find(Vm)
        network, _, there = await network_of(cloud, vm)
        cards = there.nics[NetworkId(network.id)]
        extra = replace(guest_nic(there.routers[NetworkId(network.id)], 99), vm=VmId(vm.id))
        cards[extra.nic] = extra
        await asyncio.sleep(SOON_S)
        assert extra.nic in cards
        await cloud.wait(asked["jobid"])
        await asyncio.sleep(SOON_S)
        assert extra.nic not in cards

    world(story, compute={"options": {"latency_s": 60}})


def test_many_unknown_networks_mean_the_wrong_database_and_nothing_is_told(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        network, _, there = await network_of(cloud, await running(cloud))
        told = replace(there.routers[NetworkId(network.id)], dns=("9.9.9.9",))
        there.routers[told.network] = told
        for number in range(4):
            built(there, guest_network(number))
        await asyncio.sleep(SOON_S)
        assert len(there.routers) == 5
        assert there.routers[told.network] == told
        assert "4 of 5 networks on host" in troubles(cloud, "network")

    world(story)


# -- all of them -------------------------------------------------------------------------------


def test_a_quiet_cloud_is_left_as_it_is(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vms = [await running(cloud) for _ in range(4)]
        assert (await cloud.settle("stopVirtualMachine", id=vms[0].id))["jobstatus"] == 1
        ids = [HostId(id) for id in await hosts(cloud)]

        def seen() -> list[Any]:
            outside = [networks.outside(id) for id in ids]
            held = [pools.outside(pool) for pool in pool_ids]
            return [
                [sorted(hypervisors.outside(id).machines) for id in ids],
                [(dict(w.routers), {n: dict(c) for n, c in w.nics.items()}) for w in outside],
                [sorted(w.bridges) for w in outside],
                [(sorted(p.volumes), sorted(p.images), sorted(p.aside)) for p in held],
            ]

        pool_ids = [pool.id for pool in await cloud.store.find(StoragePool)]
        before = seen()
        await asyncio.sleep(SOON_S)
        now = seen()
        used = {str(vm.host) for vm in vms[1:]} | {
            str(n.router) for n in await cloud.store.find(Network)
        }
        now[2] = before[2] = [b if id in used else [] for id, b in zip(ids, now[2], strict=True)]
        assert now == before

    world(story)


def test_what_is_about_to_be_touched_is_read_again_first(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        vms = [await running(cloud) for _ in range(4)]
        network, _, _ = await network_of(cloud, vms[0])
        used = {str(vm.host) for vm in vms}
        assert len(used) > 1
        before = await volumes(cloud)
        blind = Records([], [])  # what a turn might read a moment too early
        for each in cloud.role("network")._sweeps:
            await each.turn(await each.host.driver.inspect(), blind)
        for pool in cloud.role("storage")._sweeps:
            await pool.turn(await pool.pool.survey(), set(), set())
        for host in cloud.role("compute").hosts:
            await host.expel(await host.survey(), [])
        assert set((await machines(cloud)).items()) == {(vm.id, "on") for vm in vms}
        assert await volumes(cloud) == before
        assert NetworkId(network.id) in networks.outside(str(network.router)).routers
        assert all(networks.outside(host).bridges for host in used)
        assert [len(pools.outside(p.id).aside) for p in await cloud.store.find(StoragePool)] == [
            0, 0, 0,
        ]  # fmt: skip

    world(story, **{role: {"ghost_seconds": 0} for role in ROLES})


def test_sweeps_that_are_switched_off_touch_nothing(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        network, nic, there = await network_of(cloud, await running(cloud))
        ghost, stray, volume = tiny("ghost"), guest_network(1), VolumeId(new_id())
        [known] = await cloud.store.find(Volume)
        hypervisors.outside(str(network.router)).start(ghost)
        pools.outside(str(known.pool)).volumes[volume] = None
        built(there, stray)
        del there.nics[NetworkId(network.id)][NicId(nic.id)]
        await asyncio.sleep(SOON_S)
        assert ghost.vm in await machines(cloud)
        assert volume in await volumes(cloud)
        assert stray.network in there.routers
        assert there.nics[NetworkId(network.id)] == {}

    world(story, **{role: {"sweep_seconds": 0} for role in ROLES})


def test_rules_of_others_that_cut_guests_off_are_a_warning_and_no_trouble(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        _, _, host = await network_of(cloud, await running(cloud))
        assert not cloud.node.warnings()["network"]
        host.blocked = "packets between two links of a bridge are dropped by ip filter FORWARD"
        await asyncio.sleep(SOON_S)
        assert cloud.node.warnings()["network"] == [host.blocked]
        assert not cloud.node.troubles()["network"]
        host.blocked = ""
        await asyncio.sleep(SOON_S)
        assert not cloud.node.warnings()["network"]

    world(story)
