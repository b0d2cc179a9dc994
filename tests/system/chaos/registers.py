"""A machine's display name is a register that everybody writes and reads: was it linearizable?

Every write has a value of its own, so the question has an exact and cheap answer (Gibbons and
Korach, Testing Shared Memories, 1997). All that is known of one value, its write and its reads,
spans a zone: from the first completion to the last invocation. If those come in that order the
register held that value all the time between, so two such zones must not overlap, and no value
may have come and gone within another's zone.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from csnode.types import Struct
from tests.system.chaos.history import NEVER, Finding, orders, sightings
from tests.system.chaos.record import Record

UPDATE = "updateVirtualMachine"


class Act(Struct):
    """A write or a read of one value; a write that nobody knows the end of never completes."""

    value: str
    invoked: float
    completed: float
    write: bool
    by: str


class _Zone(msgspec.Struct):
    value: str
    first_completed: float
    last_invoked: float
    begun: float  # the write's invocation
    latest: Act  # the act that was invoked last

    @property
    def held(self) -> bool:
        """Whether the register must have had the value from one end to the other."""
        return self.first_completed < self.last_invoked


def names(record: Record) -> Iterator[Finding]:
    """Every machine's name, judged by itself."""
    acts, never = _acts(record)
    for machine, some in acts.items():
        for what in judged(some):
            yield Finding(check="stale-or-lost-name", object=machine, what=what)
        for act in some:
            if not act.write and act.value in never:
                what = f"{act.by} read {act.value}, whose write was refused"
                yield Finding(check="refused-name-shows", object=machine, what=what)


def _acts(record: Record) -> tuple[dict[str, list[Act]], set[str]]:
    """By machine; and the values that were refused."""
    found: defaultdict[str, list[Act]] = defaultdict(list)
    refused: set[str] = set()
    for order in orders(record).values():
        if order.verb == "deploy":
            write = Act(value=order.name, invoked=order.invoked, completed=order.accepted,
                        write=True, by=f"job {order.job}")  # fmt: skip
            found[order.machine].append(write)
            refused |= {order.name} if order.refused else set()
    for update in record.of(UPDATE):
        value = update.params["displayname"]
        done = update.completed if update.kind == "ok" else NEVER
        write = Act(value=value, invoked=update.invoked, completed=done, write=True,
                    by=f"client {update.client}")  # fmt: skip
        found[update.params["id"]].append(write)
        refused |= {value} if update.kind == "refused" else set()
    for seen in sightings(record):
        if seen.row is not None and seen.machine in found:
            read = Act(
                value=seen.row["displayname"],
                invoked=seen.invoked,
                completed=seen.completed,
                write=False,
                by=f"client {seen.client}",
            )
            found[seen.machine].append(read)
    return found, refused


def judged(acts: Sequence[Act]) -> Iterator[str]:
    """What shows that the acts on one register have no order that explains them all."""
    zones, strange = _zones(acts)
    yield from strange
    held = sorted((z for z in zones if z.held), key=lambda z: z.first_completed)
    for one, two in itertools.pairwise(held):
        if two.first_completed < one.last_invoked:
            yield _told(one, two)
    for zone in zones:
        if not zone.held:
            for other in held:
                begun, ended = zone.last_invoked, zone.first_completed
                if other.first_completed < begun and ended < other.last_invoked:
                    yield _told(other, zone)


def _zones(acts: Sequence[Act]) -> tuple[list[_Zone], list[str]]:
    zones: dict[str, _Zone] = {}
    strange: list[str] = []
    for act in acts:
        if act.write:
            zones[act.value] = _Zone(act.value, act.completed, act.invoked, act.invoked, act)
    for act in acts:
        if act.write:
            continue
        zone = zones.get(act.value)
        if zone is None:
            strange.append(f"{act.by} read {act.value!r}, which nobody wrote")
            continue
        if act.completed < zone.begun:
            strange.append(f"{act.by} read {act.value} before it was written")
        zone.first_completed = min(zone.first_completed, act.completed)
        if act.invoked > zone.last_invoked:
            zone.last_invoked, zone.latest = act.invoked, act
    return list(zones.values()), strange


def _told(older: _Zone, newer: _Zone) -> str:
    return (
        f"{older.latest.by} at {older.latest.invoked:.3f} still found {older.value}, which "
        f"was there at {older.first_completed:.3f}; but {newer.value} was seen or acknowledged "
        f"by {newer.first_completed:.3f} between the two"
    )
