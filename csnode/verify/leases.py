"""Cards at their routers: each running machine has its lease, and nobody else has one (P2, P8)."""

from __future__ import annotations

from collections.abc import Iterator

from csnode.model.machine import FoundNetwork, FoundNic
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.place import Zone
from csnode.model.telling import guest_nic
from csnode.model.vm import Vm
from csnode.types import HostId, NicId
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding, RemoveNic, TellNic

OF_NOBODY = Check(
    "lease-of-nobody", "P8", "lease",
    cause="a machine went while the router did not answer",
    remedy="have the router forget the card: its address may be another's by now",
)  # fmt: skip
MISSING = Check(
    "lease-missing", "P8", "nic",
    cause="the router was rebuilt, and was not told of the card",
    remedy="tell the router of the card",
)  # fmt: skip
DIFFERS = Check(
    "lease-differs", "P2", "nic",
    cause="the card was changed, and its router was not told",
    remedy="tell the router of the card",
)  # fmt: skip


def leases(ev: Evidence) -> Iterator[Finding]:
    """Check that routers know their network's cards, with address and MAC as recorded."""
    for host, networks in ev.networks.items():
        for found in networks:
            row = ev.get(Network, found.network)
            if found.told is None or row is None or row.router != host or _moves(ev, row):
                continue
            yield from _strays(ev, row, found, HostId(host))
            known = {nic.nic: nic for nic in found.nics}
            for nic in filter(_is_to_be_known, ev.nics_in.get(row.id, ())):
                lease = known.get(NicId(nic.id))
                if nic.id not in ev.moving and not (lease and _agree(lease, nic)):
                    yield from _lease(ev, row, nic, lease, HostId(host))


def _moves(ev: Evidence, network: Network) -> bool:
    """Tell whether a job about the network itself is at work.

    Jobs of its machines only move their own cards.
    """
    return network.id in ev.at_work


def _strays(ev: Evidence, network: Network, found: FoundNetwork, host: HostId) -> Iterator[Finding]:
    for nic in found.nics:
        row = ev.get(Nic, nic.nic)
        if row is not None and row.network == network.id and _is_to_be_known(row):
            continue
        if nic.nic not in ev.moving and nic.vm not in ev.moving:
            cure = RemoveNic(host=host, network=found.network, nic=nic.nic)
            what = f"the router of {network.name} leases {nic.address} to {nic.mac}, no card of it"
            yield OF_NOBODY.found(nic.nic, what, host=host, repair=cure)


def _is_to_be_known(nic: Nic) -> bool:
    """Tell whether a router may know the card: its machine has not given the address back."""
    return bool(nic.address)


def _agree(lease: FoundNic, nic: Nic) -> bool:
    same = lease.mac == nic.mac or lease.mac.lower() == nic.mac.lower()
    return same and lease.address == nic.address


def _lease(
    ev: Evidence, network: Network, nic: Nic, known: FoundNic | None, host: HostId
) -> Iterator[Finding]:
    vm = ev.get(Vm, nic.vm)
    if vm is None:
        return
    if known is None:
        if vm.runs:
            cure = _told(ev, vm, nic, network, host)
            what = f"the router of {network.name} does not know card {nic.mac} of {vm.name}"
            yield MISSING.found(nic.id, what, host=host, repair=cure)
    else:
        cure = _told(ev, vm, nic, network, host)
        what = f"the router of {network.name} leases {known.address} to {known.mac} of {vm.name}; "
        what += f"by its record it is {nic.address} and {nic.mac}"
        yield DIFFERS.found(nic.id, what, host=host, repair=cure)


def _told(ev: Evidence, vm: Vm, nic: Nic, network: Network, host: HostId) -> TellNic | None:
    offering, zone = ev.get(Offering, vm.offering), ev.get(Zone, vm.zone)
    if offering is None or zone is None:
        return None
    return TellNic(host=host, nic=guest_nic(vm, nic, network, offering, zone))


CHECKS = (leases,)
