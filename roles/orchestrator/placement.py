"""Placement: which host a machine goes to, and which pool a disk. Pure: rows in, an id out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from csnode.faults import Full
from csnode.model.fit import Need, Places, limits, why_not
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.room import room_of, unwritten, why_no_room
from csnode.types import HostId, PoolId

SAMPLE = 32  # hosts compared before the rest is looked at
RETURNING = (Seen.ALERT, Seen.CONNECTING, Seen.UP)


def place(
    need: Need,
    hosts: Sequence[Host],
    within: Places,
    used: Mapping[str, Mapping[str, int]],
    chance: random.Random,
) -> HostId:
    """Choose the emptiest of some hosts that fit; Full, with a reason for each, if none does."""
    if len(hosts) > SAMPLE:
        some = [h for h in chance.sample(hosts, SAMPLE) if not why_not(need, h, within, used)]
        if some:
            return _emptiest(some, within, used)
    fitting = [h for h in hosts if not why_not(need, h, within, used)]
    if fitting:
        return _emptiest(fitting, within, used)
    reasons = "; ".join(
        f"{h.name}: {why_not(need, h, within, used)}" for h in sorted(hosts, key=_name)
    )
    raise Full(f"No host can run this machine: {reasons or 'there are no hosts'}")


def returning(
    need: Need,
    hosts: Sequence[Host],
    within: Places,
    used: Mapping[str, Mapping[str, int]],
    since: float,
) -> bool:
    """Tell whether a host that went or came since then would take the machine if it were Up.

    A restart of csnode takes some seconds. A host that is Down, or closed to machines, is not
    waited for. `need` lacks nothing only because a pool is not up: pools come back with hosts.
    """
    lately = [h for h in hosts if h.seen in RETURNING and h.seen_since > since]
    return any(not why_not(need, replace(h, seen=Seen.UP), within, used) for h in lately)


def choose_pool(
    pools: Sequence[StoragePool],
    size: int,
    tags: Sequence[str],
    used: Mapping[str, int],
    passed: Mapping[str, str],
) -> PoolId:
    """Choose the pool with most bytes left to promise, and of those as good the emptiest.

    `passed` are not to be taken, and why. Raises Full, with a reason for every pool.
    """
    reasons = {p.id: passed.get(p.id) or why_no_room(p, size, tags, used) for p in pools}
    fitting = [p for p in pools if not reasons[p.id]]
    if not fitting:
        said = "; ".join(f"{p.name}: {reasons[p.id]}" for p in sorted(pools, key=lambda p: p.name))
        raise Full(f"No storage pool can take the disk: {said or 'none is reached'}")

    def left(pool: StoragePool) -> tuple[int, int, str]:
        return room_of(pool) - used.get(pool.id, 0), unwritten(pool), pool.id

    return PoolId(max(fitting, key=left).id)


def _emptiest(
    hosts: Sequence[Host],
    within: Places,
    used: Mapping[str, Mapping[str, int]],
) -> HostId:
    def fullness(host: Host) -> tuple[float, str]:
        have, taken = limits(host, within.clusters.get(host.cluster)), used.get(host.id, {})
        shares = [taken.get(what, 0) / max(have[what], 1) for what in have]
        return max(shares), host.name

    return HostId(min(hosts, key=fullness).id)


def _name(host: Host) -> str:
    return host.name
