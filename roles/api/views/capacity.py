"""How much there is of everything, and how much is spoken for.

What is spoken for of hosts and pools is what their tallies say, by which placement decides too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from csnode.api.about import About, Long, Word
from csnode.api.view import Part, Shown
from csnode.data.view import View
from csnode.model.fit import capacity, given_out
from csnode.model.host import Host, StoragePool
from csnode.model.ids import public_addresses, vnis
from csnode.model.network import Network
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.room import bytes_promised, room_of
from csnode.model.stock import Range, Tally
from csnode.types import MIB

MEMORY, CPU, STORAGE_USED, STORAGE, PUBLIC_IP, VLAN, LOCAL, CORES = 0, 1, 2, 3, 4, 7, 9, 90
Place = Zone | Pod | Cluster


class CapacityView(Shown):
    """How much of one thing there is, and how much is spoken for."""

    key: ClassVar[str] = "capacity"

    type: Annotated[int, About("CloudStack's number: 0 memory, 1 CPU, 3 storage"), Word("short")]
    name: Annotated[str, About("what it is")]
    capacity_total: Annotated[Long, About("bytes, MHz, or how many")]
    capacity_used: Annotated[Long, About("of that, spoken for")]
    capacity_allocated: Annotated[Long, About("of that, spoken for")]
    percent_used: Annotated[str, About("the same in percent")]
    zone_id: Annotated[str, About("the zone")]
    zone_name: Annotated[str | None, About("the name of the zone")] = None
    pod_id: Annotated[str | None, About("the pod")] = None
    pod_name: Annotated[str | None, About("the name of the pod")] = None
    cluster_id: Annotated[str | None, About("the cluster")] = None
    cluster_name: Annotated[str | None, About("the name of the cluster")] = None


class Sum(Part):
    """One line before it is said of which place."""

    type: int
    name: str
    total: int
    used: int


def capacity_of(row: Place, view: View) -> tuple[CapacityView, ...]:
    """Return the room of a zone, pod or cluster for machines and their disks."""
    wanted = (MEMORY, CPU, STORAGE)
    return tuple(_shown(row, each, view) for each in _sums(row, view) if each.type in wanted)


def all_of(row: Place, view: View) -> list[CapacityView]:
    """Return all that is counted there; addresses and network numbers belong to zones."""
    sums = _sums(row, view)
    if isinstance(row, Zone):
        sums += _numbers(row, view)
    return [_shown(row, each, view) for each in sums]


def _sums(row: Place, view: View) -> list[Sum]:
    column = row.kind
    hosts = [h for h in view.by(Host, column, row.id) if not h.fenced]
    pools = view.by(StoragePool, column, row.id)
    local = [p for p in pools if p.host is not None]
    have = [capacity(host, view.maybe(Cluster, host.cluster)) for host in hosts]
    given = [given_out(view.maybe(Tally, host.id)) for host in hosts]
    memory, used = sum(h.memory_mib for h in have), sum(g.memory_mib for g in given)
    return [
        Sum(type=MEMORY, name="MEMORY", total=memory * MIB, used=used * MIB),
        Sum(type=CPU, name="CPU", total=sum(h.mhz for h in have), used=sum(g.mhz for g in given)),
        Sum(
            type=STORAGE_USED,
            name="STORAGE",
            total=sum(p.total_bytes for p in pools),
            used=sum(p.used_bytes for p in pools),
        ),
        Sum(
            type=STORAGE,
            name="STORAGE_ALLOCATED",
            total=_room(pools),
            used=_promised(pools, view),
        ),
        Sum(type=LOCAL, name="LOCAL_STORAGE", total=_room(local), used=_promised(local, view)),
        Sum(
            type=CORES,
            name="CPU_CORE",
            total=sum(h.cpus for h in have),
            used=sum(g.cpus for g in given),
        ),
    ]


def _numbers(zone: Zone, view: View) -> list[Sum]:
    networks = view.by(Network, "zone", zone.id)
    return [
        Sum(
            type=PUBLIC_IP,
            name="VIRTUAL_NETWORK_PUBLIC_IP",
            total=_width(view.maybe(Range, public_addresses(zone.id))),
            used=sum(bool(network.public_address) for network in networks),
        ),
        Sum(
            type=VLAN,
            name="VLAN",
            total=_width(view.maybe(Range, vnis(zone.id))),
            used=sum(bool(network.vni) for network in networks),
        ),
    ]


def _room(pools: Sequence[StoragePool]) -> int:
    """Add up the bytes that the pools may promise; one that nobody has measured has none."""
    return sum(max(room_of(pool), 0) for pool in pools)


def _promised(pools: Sequence[StoragePool], view: View) -> int:
    return sum(bytes_promised(view.maybe(Tally, pool.id)) for pool in pools)


def percent(part: int, whole: int) -> str:
    """Write a share of the whole, with two decimals; 0.00 if there is nothing at all."""
    return f"{100 * part / whole if whole else 0:.2f}"


def _width(range: Range | None) -> int:
    return range.high - range.low + 1 if range else 0


def _shown(row: Place, sum: Sum, view: View) -> CapacityView:
    zone = row if isinstance(row, Zone) else view.maybe(Zone, row.zone)
    pod = row if isinstance(row, Pod) else None
    if isinstance(row, Cluster):
        pod = view.maybe(Pod, row.pod)
    cluster = row if isinstance(row, Cluster) else None
    return CapacityView(
        type=sum.type,
        name=sum.name,
        capacity_total=sum.total,
        capacity_used=sum.used,
        capacity_allocated=sum.used,
        percent_used=percent(sum.used, sum.total),
        zone_id=zone.id if zone else "",
        zone_name=zone.name if zone else None,
        pod_id=pod.id if pod else None,
        pod_name=pod.name if pod else None,
        cluster_id=cluster.id if cluster else None,
        cluster_name=cluster.name if cluster else None,
    )
