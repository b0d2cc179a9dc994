"""Machines by their records: at rest what is wanted is what is, and every part has its whole."""

from __future__ import annotations

from collections.abc import Iterator

from csnode.model.host import Host, StoragePool
from csnode.model.ids import RangeOf, guest_addresses, object_name, range_parts
from csnode.model.network import Network, Nic
from csnode.model.stock import Range
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from csnode.types import Power, VmId
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, ClearDoubt, Finding, OrderStop

UNREADABLE = Check(
    "row-unreadable", "P3", "row",
    cause="another version of csnode wrote it, or somebody edited the database",
    remedy="restore the row from a backup, or run the version that wrote it",
)  # fmt: skip
IN_TRANSITION = Check(
    "machine-in-transition", "P1", "vm",
    cause="a job ended without saying what became of its machine, or somebody edited the row",
    remedy="start or stop the machine: the order settles it",
)  # fmt: skip
CAPACITY_HELD = Check(
    "capacity-held", "P1", "vm",
    cause="the guest halted by itself, and the sweep has not been by",
    remedy="stop the machine: its host's capacity is free again",
)  # fmt: skip
IN_DOUBT = Check(
    "host-in-doubt", "P2", "vm",
    cause="a job ended before the host said that it has no such machine",
    remedy="ask the host to remove it; until then nothing it took may be given to others",
)  # fmt: skip
HALF_MOVED = Check(
    "machine-half-moved", "P2", "vm",
    cause="a job ended without saying where it left the machine, or somebody edited the row",
    remedy="stop the machine: every host that may have it is asked, and it starts anew on one",
)  # fmt: skip
NO_SUCH_HOST = Check(
    "machine-on-no-host", "P8", "vm",
    cause="the host's row was deleted while the machine held capacity there",
    remedy="stop the machine, and start it elsewhere",
)  # fmt: skip
NO_DISK = Check(
    "machine-without-disk", "P8", "vm",
    cause="somebody deleted the volume's row",
    remedy="destroy the machine, or restore its volume from a backup",
)  # fmt: skip
VOLUME_OF_NOBODY = Check(
    "volume-of-nobody", "P8", "volume",
    cause="the machine's row was deleted, and its volume's was not",
    remedy="delete the volume's row; its bytes are then set aside, never deleted",
)  # fmt: skip
VOLUME_WITHOUT_POOL = Check(
    "volume-without-pool", "P8", "volume",
    cause="the pool's row was deleted, or somebody edited the volume's",
    remedy="name the pool that has its bytes, or destroy the machine",
)  # fmt: skip
VOLUME_WITHOUT_TEMPLATE = Check(
    "volume-without-template", "P8", "volume",
    cause="the template was deleted while machines used it",
    remedy="register the template again under its old id, or destroy the machine",
)  # fmt: skip
NIC_OF_NOBODY = Check(
    "nic-of-nobody", "P8", "nic",
    cause="the machine's row was deleted, and its card's was not",
    remedy="delete the card's row once no host has the machine; its address is then given back",
)  # fmt: skip
NIC_WITHOUT_NETWORK = Check(
    "nic-without-network", "P8", "nic",
    cause="the network was deleted while a machine was in it",
    remedy="destroy the machine, or restore the network's row",
)  # fmt: skip
NETWORK_WITHOUT_RANGE = Check(
    "network-without-range", "P8", "network",
    cause="somebody deleted the range",
    remedy="create the range guest:ID again; until then no machine gets an address",
)  # fmt: skip
RANGE_OF_NOBODY = Check(
    "range-of-nobody", "P8", "range",
    cause="the network was deleted, and its range of addresses was not",
    remedy="delete the range's row",
)  # fmt: skip


def unreadable(ev: Evidence) -> Iterator[Finding]:
    """Find rows of a shape that nobody knows; nothing else can be said of them."""
    for (kind, id), why in ev.rows.unreadable.items():
        yield UNREADABLE.found(object_name(kind, id), why)


def transitions(ev: Evidence) -> Iterator[Finding]:
    """Check that a machine that no job is at work on is where it was wanted."""
    for vm in ev.all(Vm):
        if vm.id in ev.at_work:
            continue
        if vm.host is not None and vm.power is not Power.ON:
            if (vm.host, vm.id) not in ev.running:  # else the host's report will set it right
                what = f"{vm.name} holds capacity of {ev.host_name(vm.host)}, and is {vm.power}"
                cure = stopped(vm) if vm.host in ev.domains else None
                yield CAPACITY_HELD.found(vm.id, what, host=vm.host, repair=cure)
        elif (vm.want is Want.RUNNING) is not (vm.host is not None) or vm.want is Want.GONE:
            where = f"is on {ev.host_name(vm.host)}" if vm.host else "is on no host"
            what = f"{vm.name} is wanted {vm.want}, but {where}, and no job is at work on it"
            yield IN_TRANSITION.found(vm.id, what)


def doubts(ev: Evidence) -> Iterator[Finding]:
    """Find hosts that may have a machine besides the one that is to."""
    for vm in ev.all(Vm):
        if vm.id in ev.at_work:
            continue
        for host in vm.maybe_on:
            if host != vm.host:
                known = ev.get(Host, host) is not None
                cure = ClearDoubt(host=host, vm=VmId(vm.id), revision=vm.revision)
                what = f"{vm.name} may still be on {ev.host_name(host)}"
                yield IN_DOUBT.found(vm.id, what, host=host, repair=cure if known else None)


def moves(ev: Evidence) -> Iterator[Finding]:
    """Check that a machine is on its way only while a job is at it."""
    for vm in ev.all(Vm):
        if vm.moving_to is not None and vm.id not in ev.at_work:
            where = f"{ev.host_name(vm.host)} to {ev.host_name(vm.moving_to)}"
            what = f"{vm.name} is on its way from {where}, and no job is at work on it"
            yield HALF_MOVED.found(vm.id, what, host=vm.moving_to)


def parts(ev: Evidence) -> Iterator[Finding]:
    """Check that what a machine is made of is there."""
    for vm in ev.all(Vm):
        if vm.host is not None and ev.get(Host, vm.host) is None:
            yield NO_SUCH_HOST.found(vm.id, f"{vm.name} is on {vm.host}, which is no host")
        if vm.id not in ev.volumes_of:
            yield NO_DISK.found(vm.id, f"{vm.name} has no volume")


def volumes(ev: Evidence) -> Iterator[Finding]:
    """Check that volumes have a machine, a pool and a template, if they say so."""
    for volume in ev.all(Volume):
        if volume.vm is not None and ev.get(Vm, volume.vm) is None:
            yield VOLUME_OF_NOBODY.found(volume.id, f"{volume.name} is of {volume.vm}: no machine")
        pool = ev.get(StoragePool, volume.pool)
        if pool is None and (volume.ready or volume.pool is not None):
            where = f"is in {volume.pool}, which is no pool" if volume.pool else "is in no pool"
            yield VOLUME_WITHOUT_POOL.found(volume.id, f"{volume.name} {where}")
        if volume.template is not None and ev.get(Template, volume.template) is None:
            what = f"{volume.name} was made from {volume.template}, which is no template"
            yield VOLUME_WITHOUT_TEMPLATE.found(volume.id, what)


def cards(ev: Evidence) -> Iterator[Finding]:
    """Check that cards have a machine and a network.

    Networks have addresses, and addresses a network.
    """
    for nic in ev.all(Nic):
        if ev.get(Vm, nic.vm) is None:
            yield NIC_OF_NOBODY.found(nic.id, f"card {nic.mac} is of {nic.vm}, which is no machine")
        if ev.get(Network, nic.network) is None:
            what = f"card {nic.mac} of {ev.vm_name(nic.vm)} is in {nic.network}: no network"
            yield NIC_WITHOUT_NETWORK.found(nic.id, what)
    for network in ev.all(Network):
        if ev.get(Range, guest_addresses(network.id)) is None:
            what = f"{network.name} has no range of addresses"
            yield NETWORK_WITHOUT_RANGE.found(network.id, what)
    for range in ev.all(Range):
        what, owner = range_parts(range.id)
        if what == RangeOf.GUEST and ev.get(Network, owner) is None:
            yield RANGE_OF_NOBODY.found(range.id, f"it is of {owner}, which is no network")


def stopped(vm: Vm) -> OrderStop:
    """Return what settles a machine that does not run, as the orchestrator's sweep does."""
    return OrderStop(vm=VmId(vm.id), revision=vm.revision)


CHECKS = (unreadable, transitions, doubts, moves, parts, volumes, cards)
