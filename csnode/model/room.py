"""How much of a pool is promised to volumes, and which pool can take one. Pure: rows in, words out.

A pool's tally counts the bytes that its volumes may grow to, as CloudStack's allocated storage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from csnode.model.host import StoragePool
from csnode.model.job import Job, JobState
from csnode.model.orders import MigrateVm
from csnode.model.stock import Tally, usage
from csnode.model.volume import Volume
from csnode.types import GIB

BYTES = "bytes"


def room_of(pool: StoragePool) -> int:
    """Return how many bytes of a pool may be promised; -1 while nobody has measured it."""
    return int(pool.total_bytes * pool.overprovisioning) if pool.total_bytes else -1


def bytes_promised(tally: Tally | None) -> int:
    """Return how many bytes of a pool are promised, by its tally: that limits further promises."""
    return usage(tally).get(BYTES, 0)


def unwritten(pool: StoragePool) -> int:
    """Return how many bytes of a pool are free on its disk, whatever it has promised."""
    return pool.total_bytes - pool.used_bytes


def why_no_room(pool: StoragePool, size: int, tags: Sequence[str], used: Mapping[str, int]) -> str:
    """Return why a new volume cannot go to the pool; "" if it can."""
    room, taken = room_of(pool), used.get(pool.id, 0)
    missing = sorted(set(tags) - set(pool.tags))
    checks: Iterable[tuple[bool, str]] = (
        (not pool.enabled, "is disabled"),
        (pool.maintenance, "is in maintenance"),
        (not pool.up, "is not up"),
        (bool(missing), f"lacks the tag {', '.join(missing)}"),
        (
            0 <= room < taken + size,
            f"needs {_gib(size)}, {_gib(max(room - taken, 0))} of {_gib(room)} are free",
        ),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def promised(volumes: Iterable[Volume], jobs: Iterable[Job]) -> Counter[str]:
    """Count the bytes promised in each pool: to volumes there, and to those on their way there.

    This is what a pool's tally must say: verify and the orchestrators' sweeps hold it against it.
    """
    rows = {volume.id: volume for volume in volumes}
    bytes: Counter[str] = Counter()
    for volume in rows.values():
        if volume.pool is not None:
            bytes[volume.pool] += volume.size
    bytes.update(coming(rows, jobs))
    return bytes


def coming(rows: Mapping[str, Volume], jobs: Iterable[Job]) -> Counter[str]:
    """Count the bytes promised in each pool to volumes on their way there; `rows` are by id."""
    bytes: Counter[str] = Counter()
    for job in jobs:
        for spot in moves_of(job):
            volume = rows.get(spot["volume"])
            if volume is not None and volume.pool != spot["target"]:
                bytes[spot["target"]] += volume.size
    return bytes


def moves_of(job: Job) -> list[dict[str, Any]]:
    """Return the disks that a migration copies to another pool, as its record has them."""
    if job.verb != MigrateVm.verb() or not (job.open or job.state is JobState.STUCK):
        return []
    spots: Sequence[dict[str, Any]] = job.results.get("spots", ())
    return [spot for spot in spots if spot["source"] != spot["target"]]


def _gib(bytes: int) -> str:
    return f"{bytes / GIB:.1f} GiB"
