"""Placement: which host a machine goes to. Pure: rows in, a host or a refusal out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from csnode.faults import Full
from csnode.model.host import Host, Seen
from csnode.model.place import Cluster
from csnode.types import HostId, Struct, ZoneId

SAMPLE = 32  # hosts compared before the rest is looked at


class Need(Struct):
    """What a machine needs of a host."""

    zone: ZoneId
    cpus: int
    memory_mib: int
    cpu_mhz: int = 0
    tags: tuple[str, ...] = ()
    only: frozenset[str] | None = None  # hosts that reach its disks; None: any
    avoid: frozenset[str] = frozenset()  # hosts that were full a moment ago


def limits(host: Host, cluster: Cluster | None) -> dict[str, int]:
    """How much of a host may be given away."""
    cpu = cluster.cpu_overcommit if cluster else 1.0
    memory = cluster.memory_overcommit if cluster else 1.0
    return {"cpu": int(host.cpus * cpu), "memory": int(host.memory_mib * memory)}


def place(
    need: Need,
    hosts: Sequence[Host],
    clusters: Mapping[str, Cluster],
    used: Mapping[str, Mapping[str, int]],
    chance: random.Random,
) -> HostId:
    """The emptiest of some hosts that fit; Full, with a reason for every host, if none does."""
    if len(hosts) > SAMPLE:
        some = [h for h in chance.sample(hosts, SAMPLE) if not why_not(need, h, clusters, used)]
        if some:
            return _emptiest(some, clusters, used)
    fitting = [h for h in hosts if not why_not(need, h, clusters, used)]
    if fitting:
        return _emptiest(fitting, clusters, used)
    reasons = "; ".join(
        f"{h.name}: {why_not(need, h, clusters, used)}" for h in sorted(hosts, key=_name)
    )
    raise Full(f"No host can run this machine: {reasons or 'there are no hosts'}")


def why_not(
    need: Need,
    host: Host,
    clusters: Mapping[str, Cluster],
    used: Mapping[str, Mapping[str, int]],
) -> str:
    """Why the host cannot take the machine; "" if it can."""
    if reason := _unfit(need, host):
        return reason
    have, taken = limits(host, clusters.get(host.cluster)), used.get(host.id, {})
    for what, wanted, unit in (("cpu", need.cpus, "CPUs"), ("memory", need.memory_mib, "MiB")):
        free = have[what] - taken.get(what, 0)
        if wanted > free:
            return f"needs {wanted} {unit}, {max(free, 0)} of {have[what]} are free"
    return ""


def _unfit(need: Need, host: Host) -> str:
    missing = set(need.tags) - set(host.tags)
    checks: Iterable[tuple[bool, str]] = (
        (host.zone != need.zone, "is in another zone"),
        (not host.enabled, "is disabled"),
        (host.seen is not Seen.UP, f"is not Up but {host.seen}"),
        (bool(missing), f"lacks the tag {', '.join(sorted(missing))}"),
        (need.only is not None and host.id not in need.only, "does not reach the machine's disks"),
        (host.id in need.avoid, "was filled by others meanwhile"),
        (host.cpu_mhz < need.cpu_mhz, f"has CPUs of {host.cpu_mhz} MHz, needs {need.cpu_mhz}"),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def _emptiest(
    hosts: Sequence[Host],
    clusters: Mapping[str, Cluster],
    used: Mapping[str, Mapping[str, int]],
) -> HostId:
    def fullness(host: Host) -> tuple[float, str]:
        have, taken = limits(host, clusters.get(host.cluster)), used.get(host.id, {})
        shares = [taken.get(what, 0) / max(have[what], 1) for what in have]
        return max(shares), host.name

    return HostId(min(hosts, key=fullness).id)


def _name(host: Host) -> str:
    return host.name
