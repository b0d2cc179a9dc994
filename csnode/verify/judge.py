"""Judging: the evidence held against every check; what is found twice is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from csnode.bus.bus import Bus
from csnode.data.store import Store
from csnode.model.host import Host, StoragePool
from csnode.model.network import Network
from csnode.model.stock import Lease, Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import Struct
from csnode.verify import (
    books,
    disks,
    domains,
    jobs,
    leases,
    machines,
    networks,
    references,
    stock,
    tallies,
)
from csnode.verify.evidence import Evidence, gather
from csnode.verify.finding import Finding
from csnode.verify.rows import TYPES

Checking = Callable[[Evidence], Iterator[Finding]]
PAUSE_S = 1.5
CHECKS: tuple[Checking, ...] = (
    *books.CHECKS, *jobs.CHECKS, *machines.CHECKS, *references.CHECKS, *domains.CHECKS,
    *disks.CHECKS, *networks.CHECKS, *leases.CHECKS, *stock.CHECKS, *tallies.CHECKS,
)  # fmt: skip
COUNTED = (Vm, Volume, Network, Host, StoragePool)


class Verdict(Struct):
    """What was found wrong, what is merely worth knowing, and how much was looked at."""

    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    looked_at: dict[str, int]  # rows by kind, and what is at work and so not judged
    number: int  # of the last commit that was judged

    @property
    def clean(self) -> bool:
        """Whether every promise holds, as far as can be seen."""
        return not self.findings


async def verify(bus: Bus, store: Store, pause_s: float | None = PAUSE_S) -> Verdict:
    """Judge the cloud; reads only. Raises Unavailable if the data service does not answer.

    A live cloud moves while it is looked at, so what looks wrong is looked at again after a
    pause (seconds), and only what is wrong both times is told. None: one look is enough, as in a
    world where nothing happens.
    """
    seen = await gather(bus, store)
    found = judged(seen)
    if found and pause_s is not None:
        await asyncio.sleep(pause_s)
        before, seen = seen, await gather(bus, store)
        suspects = {finding.key for finding in found}
        found = [f for f in judged(seen) if f.key in suspects and _rested(f, before, seen)]
    return Verdict(
        findings=tuple(f for f in found if f.grave),
        notes=tuple(f for f in found if not f.grave),
        looked_at=_looked_at(seen),
        number=seen.rows.number,
    )


def judged(seen: Evidence) -> list[Finding]:
    """Find everything wrong with it, in the order of the checks."""
    return [finding for check in CHECKS for finding in check(seen)]


def _rested(finding: Finding, before: Evidence, after: Evidence) -> bool:
    """Tell whether the object's row is the same.

    Tallies and leases change all the time, and are judged so.
    """
    kind = TYPES.get(finding.kind, Vm if finding.kind == "domain" else None)
    if kind is None or kind in (Tally, Lease):
        return True
    old, new = before.get(kind, finding.id), after.get(kind, finding.id)
    return (old.revision if old else 0) == (new.revision if new else 0)


def _looked_at(seen: Evidence) -> dict[str, int]:
    counts = Counter({f"{kind.kind}s": len(seen.rows.of(kind)) for kind in COUNTED})
    counts["domains"] = sum(map(len, seen.domains.values()))
    counts["at work"] = len(seen.at_work)
    return dict(counts)
