"""Which host can take a machine, and why not. Pure: rows in, a reason out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from csnode.model.host import Host, Seen, StoragePool
from csnode.model.offering import Offering
from csnode.model.place import Cluster, Pod
from csnode.model.stock import Tally, usage
from csnode.model.vm import Vm
from csnode.types import Struct, ZoneId

COUNTED = ("cpu", "mhz", "memory", "vm")  # in a host's tally


class Places(Struct):
    """What hosts are in, by id: what is said of a place holds for every host in it."""

    clusters: Mapping[str, Cluster]
    pods: Mapping[str, Pod]


def places(clusters: Iterable[Cluster], pods: Iterable[Pod]) -> Places:
    """Return the clusters and pods, to be looked up."""
    return Places(clusters={c.id: c for c in clusters}, pods={p.id: p for p in pods})


class Need(Struct):
    """What a machine needs of a host."""

    zone: ZoneId
    cpus: int
    memory_mib: int
    cpu_mhz: int = 0
    tags: tuple[str, ...] = ()
    hypervisor: str = ""  # empty: any
    only: frozenset[str] | None = None  # hosts that reach its disks; None: any
    avoid: frozenset[str] = frozenset()  # hosts that were full a moment ago
    lacks: Mapping[str, str] = {}  # hosts that cannot take it for another reason, and the reason
    leaves: str = ""  # the host that it is to be moved away from


def need_of(
    vm: Vm,
    offering: Offering,
    only: frozenset[str] | None,
    full: frozenset[str] = frozenset(),
    leaves: str = "",
    hypervisor: str = "",
    lacks: Mapping[str, str] | None = None,
) -> Need:
    """Return what the machine needs of a host.

    `only` reach its disks, `full` were full a moment ago.
    """
    return Need(
        zone=vm.zone,
        cpus=vm.cpus,
        memory_mib=vm.memory_mib,
        cpu_mhz=vm.cpu_mhz,
        tags=offering.host_tags,
        only=only,
        avoid=full,
        leaves=leaves,
        hypervisor=hypervisor,
        lacks=lacks or {},
    )


def mhz_of(sized: Host | Vm | Need) -> int:
    """Add up the MHz of all the CPUs that it has, or needs."""
    return sized.cpus * sized.cpu_mhz


class Capacity(Struct):
    """An amount of a host: what may be given away of it, or what is."""

    cpus: int  # shown; what limits is their MHz
    mhz: int  # of all of them together
    memory_mib: int


def capacity(host: Host, cluster: Cluster | None) -> Capacity:
    """Reckon how much of a host may be given away: more than it has, if its cluster overcommits.

    Placement, verify, lists and the command line all ask here.
    """
    cpu = cluster.cpu_overcommit if cluster else 1.0
    memory = cluster.memory_overcommit if cluster else 1.0
    return Capacity(
        cpus=int(host.cpus * cpu),
        mhz=int(mhz_of(host) * cpu),
        memory_mib=int(host.memory_mib * memory),
    )


def reservation(vm: Vm) -> dict[str, int]:
    """Say what a machine takes of a host, as the host's tally counts it.

    Of "cpu" nothing is limited: it is shown, and csnodes of wire 3 limit it and know no "mhz".
    """
    return {"cpu": vm.cpus, "mhz": mhz_of(vm), "memory": vm.memory_mib, "vm": 1}


def given_out(tally: Tally | None) -> Capacity:
    """Say how much of a host is given out, by its tally: what placement and its limits go by."""
    used = usage(tally)
    return Capacity(
        cpus=used.get("cpu", 0), mhz=used.get("mhz", 0), memory_mib=used.get("memory", 0)
    )


def reserved(vms: Iterable[Vm]) -> dict[str, Counter[str]]:
    """Add up what machines take of each host, by id. One that moves takes of both its hosts.

    This is what a host's tally must say: verify and the orchestrators' sweeps hold it against it.
    """
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for vm in vms:
        for host in vm.held_by:
            sums[host].update(reservation(vm))
    return sums


def limits(host: Host, cluster: Cluster | None) -> dict[str, int]:
    """Say how much of the host may be given away, as its tally counts it."""
    has = capacity(host, cluster)
    return {"mhz": has.mhz, "memory": has.memory_mib}


def why_not(
    need: Need,
    host: Host,
    within: Places,
    used: Mapping[str, Mapping[str, int]],
) -> str:
    """Return why the host cannot take the machine; "" if it can."""
    if reason := _unfit(need, host, within):
        return reason
    have, taken = limits(host, within.clusters.get(host.cluster)), used.get(host.id, {})
    wants = (("mhz", mhz_of(need), "MHz"), ("memory", need.memory_mib, "MiB"))
    for what, wanted, unit in wants:
        free = have[what] - taken.get(what, 0)
        if wanted > free:
            return f"needs {wanted} {unit}, {max(free, 0)} of {have[what]} are free"
    return ""


def closed(host: Host, within: Places) -> str:
    """Return why no machine can come to the host, and no router either; "" if some may."""
    cluster, pod = within.clusters.get(host.cluster), within.pods.get(host.pod)
    checks: Iterable[tuple[bool, str]] = (
        (not host.enabled, "is disabled"),
        (cluster is not None and not cluster.enabled, "is in a cluster that is disabled"),
        (pod is not None and not pod.enabled, "is in a pod that is disabled"),
        (host.degraded, "is declared degraded"),
        (bool(host.fenced), "was fenced, and is not taken back yet"),
        (bool(host.maintenance), "is in maintenance"),
        (host.seen is not Seen.UP, f"is not Up but {host.seen}"),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def _unfit(need: Need, host: Host, within: Places) -> str:
    missing = set(need.tags) - set(host.tags)
    strange = need.hypervisor and host.hypervisor != need.hypervisor
    checks: Iterable[tuple[bool, str]] = (
        (host.id == need.leaves, "is where the machine is"),
        (host.zone != need.zone, "is in another zone"),
        (bool(strange), f"runs {host.hypervisor}, not {need.hypervisor}"),
        (bool(shut := closed(host, within)), shut),
        (bool(missing), f"lacks the tag {', '.join(sorted(missing))}"),
        (need.only is not None and host.id not in need.only, "does not reach the machine's disks"),
        (host.id in need.avoid, "was filled by others meanwhile"),
        (host.id in need.lacks, need.lacks.get(host.id, "")),
        (host.cpus < need.cpus, f"needs {need.cpus} CPUs, the host has {host.cpus}"),
        (host.cpu_mhz < need.cpu_mhz, f"has CPUs of {host.cpu_mhz} MHz, needs {need.cpu_mhz}"),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def reaches(pool: StoragePool, host: str) -> bool:
    """Tell whether disks in the pool can be opened on the host."""
    return host == pool.host if pool.host is not None else host in pool.hosts


def reach_of(pools: Sequence[StoragePool], wanted: Iterable[str]) -> frozenset[str]:
    """Find the hosts that reach every wanted pool, by id; or some pool, if none is wanted.

    A pool that is disabled is reached by nobody.
    """
    reach = {p.id: frozenset[str]((p.host,) if p.host else p.hosts) for p in pools if p.enabled}
    anybody = frozenset[str]().union(*reach.values())
    every = [reach.get(id, frozenset[str]()) for id in wanted]
    return anybody.intersection(*every)
