"""Damage, planted outside: on the hosts and in the pools of a small cloud."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from csnode.model.footprint import footprint
from csnode.model.host import Host, StoragePool
from csnode.model.machine import GuestNetwork, GuestNic, Plug
from csnode.model.network import Network, Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import (
    NetworkId,
    NicId,
    Power,
    TemplateId,
    VmId,
    VolumeId,
)
from roles.compute.drivers import sim as hypervisors
from roles.compute.drivers.sim import SimMachine
from roles.network.drivers import sim as networks
from roles.storage.drivers import sim as pools
from tests.sim.scene import LOST, Scene, damage

# -- machines, outside -----------------------------------------------------------------------


def a_domain(at: Scene, vm: VmId) -> SimMachine:
    """A running copy of the first machine's domain, as if it were of that machine."""
    source = hypervisors.outside(at.host).machines[VmId(at.vm.id)].domain
    machine = SimMachine(replace(source, vm=vm))
    machine.power = Power.ON
    return machine


@damage("domain-without-record", cured=True)
async def a_ghost_runs(at: Scene) -> None:
    hypervisors.outside(at.host).machines[VmId(LOST)] = a_domain(at, VmId(LOST))


@damage("domain-of-stopped", cured=True)
async def a_stopped_machine_runs(at: Scene) -> None:
    machine = a_domain(at, VmId(at.halted.id))
    [disk], [plug] = machine.domain.disks, machine.domain.plugs
    volume = (await at.cloud.store.find(Volume, vm=at.halted.id))[0]
    nic = (await at.cloud.store.find(Nic, vm=at.halted.id))[0]
    disk = replace(disk, volume=VolumeId(volume.id), path=f"sim://sim-local/{volume.id}")
    plug = replace(plug, nic=NicId(nic.id), mac=nic.mac)
    machine.domain = replace(machine.domain, disks=(disk,), plugs=(plug,))
    hypervisors.outside(at.host).machines[machine.domain.vm] = machine


@damage("machine-twice", cured=True)
async def a_machine_runs_twice(at: Scene) -> None:
    other = await at.another(Host, at.host)
    hypervisors.outside(other).machines[VmId(at.vm.id)] = a_domain(at, VmId(at.vm.id))


@damage("machine-elsewhere")
async def a_machine_runs_elsewhere(at: Scene) -> None:
    other = await at.another(Host, at.host)
    here = hypervisors.outside(at.host).machines
    hypervisors.outside(other).machines[VmId(at.vm.id)] = here.pop(VmId(at.vm.id))


@damage("domain-gone", cured=True)
async def a_domain_is_gone(at: Scene) -> None:
    del hypervisors.outside(at.host).machines[VmId(at.vm.id)]


@damage("machine-off", cured=True)
async def a_machine_lost_its_power(at: Scene) -> None:
    hypervisors.outside(at.host).machines[VmId(at.vm.id)].power = Power.OFF


@damage("machine-on")
async def a_machine_runs_that_is_off_by_its_record(at: Scene) -> None:
    await at.edit(Vm, at.vm.id, power=Power.OFF)


@damage("disks-differ")
async def a_disk_was_attached_by_hand(at: Scene) -> None:
    machine = hypervisors.outside(at.host).machines[VmId(at.vm.id)]
    disk = replace(machine.domain.disks[0], volume=VolumeId(LOST), path=f"sim://{LOST}")
    machine.domain = replace(machine.domain, disks=(*machine.domain.disks, disk))


@damage("cards-differ")
async def a_card_was_changed_by_hand(at: Scene) -> None:
    machine = hypervisors.outside(at.host).machines[VmId(at.vm.id)]
    plug = Plug(nic=NicId(LOST), mac="02:66:66:66:66:66", bridge="sim")
    machine.domain = replace(machine.domain, plugs=(plug,))


# -- bytes -----------------------------------------------------------------------------------


@damage("bytes-without-volume", cured=True)
async def a_disk_is_of_no_volume(at: Scene) -> None:
    pools.outside(at.pool).volumes[VolumeId(LOST)] = None


@damage("volume-without-bytes")
async def a_disk_is_lost(at: Scene) -> None:
    del pools.outside(at.pool).volumes[VolumeId(at.volume.id)]


@damage("volume-in-two-pools", cured=True)
async def a_disk_is_in_two_pools(at: Scene) -> None:
    other = await at.another(StoragePool, at.pool)
    pools.outside(other).volumes[VolumeId(at.volume.id)] = None


@damage("volume-in-other-pool")
async def a_disk_is_in_another_pool(at: Scene) -> None:
    other = await at.another(StoragePool, at.pool)
    here = pools.outside(at.pool).volumes
    pools.outside(other).volumes[VolumeId(at.volume.id)] = here.pop(VolumeId(at.volume.id))


@damage("image-without-template", cured=True)
async def an_image_is_of_no_template(at: Scene) -> None:
    pools.outside(at.pool).images.add(TemplateId(LOST))


@damage("clones-without-image")
async def an_image_with_clones_is_lost(at: Scene) -> None:
    pools.outside(at.pool).images.clear()


@damage("set-aside")
async def bytes_lie_aside(at: Scene) -> None:
    pools.outside(at.pool).aside.add(LOST)


# -- networks --------------------------------------------------------------------------------


def a_router(at: Scene, host: str, **told: Any) -> None:
    right: GuestNetwork = networks.outside(at.router).routers[NetworkId(at.network.id)]
    wrong = replace(right, **told)
    world = networks.outside(host)
    world.routers[wrong.network] = wrong
    world.nics.setdefault(wrong.network, {})
    world.bridges.add(wrong.network)


@damage("router-missing", cured=True)
async def a_router_is_gone(at: Scene) -> None:
    world, id = networks.outside(at.router), NetworkId(at.network.id)
    del world.routers[id], world.nics[id]


@damage("router-differs", cured=True)
async def a_router_was_told_otherwise(at: Scene) -> None:
    a_router(at, at.router, public_address="198.51.100.250")


@damage("router-broken", cured=True)
async def a_router_is_cut(at: Scene) -> None:
    networks.outside(at.router).cut.add(NetworkId(at.network.id))


@damage("router-of-nobody", cured=True)
async def a_router_is_of_no_network(at: Scene) -> None:
    a_router(at, at.router, network=NetworkId(LOST))


@damage("two-routers", cured=True)
async def a_network_has_two_routers(at: Scene) -> None:
    a_router(at, await at.another(Host, at.router))


@damage("network-half-made", cured=True)
async def a_network_was_left_half_made(at: Scene) -> None:
    await at.edit(Network, at.network.id, up=False)


@damage("bridge-of-nobody", cured=True)
async def a_bridge_is_left(at: Scene) -> None:
    networks.outside(at.host).bridges.add(NetworkId(LOST))


@damage("guests-cut-off")
async def rules_of_others_cut_guests_off(at: Scene) -> None:
    networks.outside(at.router).blocked = "packets between two links of a bridge are dropped"


@damage("sizes-differ")
async def a_link_between_hosts_carries_less(at: Scene) -> None:
    other = networks.outside(await at.another(Host, at.router))
    other.bridges.add(NetworkId(at.network.id))
    other.mtu = 1350


def cards(at: Scene) -> dict[NicId, GuestNic]:
    return networks.outside(at.router).nics[NetworkId(at.network.id)]


@damage("lease-of-nobody", cured=True)
async def a_lease_is_of_no_card(at: Scene) -> None:
    card = cards(at)[NicId(at.nic.id)]
    cards(at)[NicId(LOST)] = replace(
        card, nic=NicId(LOST), vm=VmId(LOST), mac="02:00:00:00:00:01", address="10.1.1.200"
    )


@damage("lease-of-nobody", cured=True)
async def a_router_knows_a_card_that_gave_its_address_back(at: Scene) -> None:
    nic = (await at.cloud.store.find(Nic, vm=at.halted.id))[0]
    known = replace(cards(at)[NicId(at.nic.id)], nic=NicId(nic.id), vm=VmId(nic.vm), mac=nic.mac)
    cards(at)[NicId(nic.id)] = replace(known, address=nic.address)
    change = at.cloud.store.change()
    change.give(nic.id)
    change.update(Nic, nic.id, address="", named=None, carded=None)
    change.update(Vm, nic.vm, given_back=True)
    disks = [volume.size for volume in await at.cloud.store.find(Volume, vm=nic.vm)]
    held = footprint(at.halted, disks)
    change.count(f"account:{at.halted.account}", {what: -n for what, n in held.items()})
    await change.commit()


@damage("lease-missing", cured=True)
async def a_router_forgot_a_card(at: Scene) -> None:
    del cards(at)[NicId(at.nic.id)]


@damage("lease-differs", cured=True)
async def a_router_leases_another_address(at: Scene) -> None:
    card = cards(at)[NicId(at.nic.id)]
    cards(at)[card.nic] = replace(card, address="10.1.1.201")
