"""Routers: each network that stands has one, where and as its record says (P2, P8)."""

from __future__ import annotations

from collections.abc import Iterator

from csnode.model.machine import FoundNetwork, GuestNetwork
from csnode.model.network import Network
from csnode.model.place import Zone
from csnode.model.telling import guest_network
from csnode.model.vm import Vm
from csnode.types import HostId, NetworkId
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding, OrderNetwork, RemoveRouter, TellRouter

MISSING = Check(
    "router-missing", "P8", "network",
    cause="somebody removed it, or its host started afresh",
    remedy="tell the host again what the router is to be",
)  # fmt: skip
DIFFERS = Check(
    "router-differs", "P8", "network",
    cause="the network or its zone was changed, and its router was not told",
    remedy="tell the host again what the router is to be",
)  # fmt: skip
BROKEN = Check(
    "router-broken", "P8", "network",
    cause="somebody killed a part of it, or changed its rules by hand",
    remedy="tell the host again: whatever is missing is rebuilt",
)  # fmt: skip
OF_NOBODY = Check(
    "router-of-nobody", "P8", "router",
    cause="the network was deleted or shut down while the host did not answer",
    remedy="remove it from the host",
)  # fmt: skip
TWO = Check(
    "two-routers", "P2", "router",
    cause="the router was built elsewhere before the old one was gone",
    remedy="remove the one that the record does not name: both answer to one address",
)  # fmt: skip
HALF_MADE = Check(
    "network-half-made", "P1", "network",
    cause="a job that built it or took it down failed on the way",
    remedy="finish it if machines use it, or shut it down",
)  # fmt: skip
BRIDGE = Check(
    "bridge-of-nobody", "P8", "bridge",
    cause="the last machine left, and the host's sweep has not been by",
    remedy="the sweep removes it within a minute",
    grave=False,
)  # fmt: skip
CUT_OFF = Check(
    "guests-cut-off", "P8", "host",
    cause="rules that others made on the host, as Docker does: a FORWARD policy of drop",
    remedy="have those rules accept what guests send; csnode leaves rules of others alone",
)  # fmt: skip
SIZES = Check(
    "sizes-differ", "P8", "network",
    cause="the links between the hosts carry packets of different sizes (MTU)",
    remedy="give these links one MTU, or set [network.options] mtu to the smallest on every host",
)  # fmt: skip


def routers(ev: Evidence) -> Iterator[Finding]:
    """Check that what the records say of routers is so on their hosts."""
    found = {host: {n.network: n for n in networks} for host, networks in ev.networks.items()}
    used = {nic.network for vm in ev.all(Vm) if vm.host for nic in ev.nics_of.get(vm.id, ())}
    for network in ev.all(Network):
        if network.id in ev.moving_networks or network.router is None:
            continue
        if not network.up:
            cure = OrderNetwork(
                network=NetworkId(network.id),
                revision=network.revision,
                used=network.id in used,
            )
            what = f"{network.name} has a router on {ev.host_name(network.router)} that is not up"
            yield HALF_MADE.found(network.id, what, host=network.router, repair=cure)
        elif network.router in found:
            here = found[network.router].get(NetworkId(network.id))
            yield from _router(ev, network, network.router, here)


def _router(
    ev: Evidence, network: Network, host: HostId, here: FoundNetwork | None
) -> Iterator[Finding]:
    zone = ev.get(Zone, network.zone)
    if zone is None:
        return
    told = guest_network(network, zone)
    cure = TellRouter(host=host, network=told)
    at = ev.host_name(host)
    if here is None or here.told is None:
        yield MISSING.found(
            network.id, f"{network.name} has no router on {at}", host=host, repair=cure
        )
    elif here.told != told:
        what = f"the router of {network.name} on {at} was told otherwise: "
        what += _otherwise(here.told, told)
        yield DIFFERS.found(network.id, what, host=host, repair=cure)
    elif here.trouble:
        what = f"the router of {network.name} on {at} does not work: {here.trouble}"
        yield BROKEN.found(network.id, what, host=host, repair=cure)


def strays(ev: Evidence) -> Iterator[Finding]:
    """Check that what stands on the hosts is in the records."""
    at = {(vm.host, nic.network) for vm in ev.all(Vm) for nic in ev.nics_of.get(vm.id, ())}
    for host, networks in ev.networks.items():
        for found in networks:
            row = ev.get(Network, found.network)
            if found.network in ev.moving_networks or (row is not None and row.router == host):
                continue
            cure = None
            if not found.plugged:
                cure = RemoveRouter(host=HostId(host), network=found.network)
            if found.told is not None:
                yield _stray_router(ev, row, found, host, cure)
            elif not found.plugged and (host, found.network) not in at:
                name = row.name if row else found.network
                what = f"{ev.host_name(host)} has a bridge of {name} with nothing on it"
                yield BRIDGE.found(found.network, what, host=host, repair=cure)


def _stray_router(
    ev: Evidence, row: Network | None, found: FoundNetwork, host: str, cure: RemoveRouter | None
) -> Finding:
    at = ev.host_name(host)
    if row is None:
        what = f"{at} has a router of a network that no record knows"
    elif row.router is None:
        what = f"{at} has a router of {row.name}, which is to have none"
    else:
        right = ev.host_name(row.router)
        there = ev.networks.get(row.router, ())
        if any(n.network == found.network and n.told is not None for n in there):
            what = f"{at} has a router of {row.name}, and so has {right}, where it belongs"
            return TWO.found(found.network, what, host=host, repair=cure)
        what = f"{at} has a router of {row.name}, but its record says {right}"
    return OF_NOBODY.found(found.network, what, host=host, repair=cure)


def _otherwise(told: GuestNetwork, right: GuestNetwork) -> str:
    """Return the fields that differ: what was told, and what it should be."""
    return "; ".join(
        f"{field} {getattr(told, field)!r} instead of {getattr(right, field)!r}"
        for field in GuestNetwork.__struct_fields__
        if getattr(told, field) != getattr(right, field)
    )


def paths(ev: Evidence) -> Iterator[Finding]:
    """Check that packets of guests pass on every host, whole."""
    sizes: dict[str, dict[str, int]] = {}
    for host, networks in sorted(ev.networks.items()):
        if why := next((found.blocked for found in networks if found.blocked), ""):
            yield CUT_OFF.found(host, f"on {ev.host_name(HostId(host))} {why}", host=host)
        for found in networks:
            if found.mtu:
                sizes.setdefault(found.network[:8], {})[host] = found.mtu
    names = {row.id[:8]: row for row in ev.all(Network)}
    for short, at in sorted(sizes.items()):
        row = names.get(short)
        if row is not None and len(set(at.values())) > 1:
            each = ", ".join(f"{mtu} on {ev.host_name(HostId(h))}" for h, mtu in sorted(at.items()))
            yield SIZES.found(row.id, f"{row.name} carries packets of {each}: large ones are lost")


CHECKS = (routers, strays, paths)
