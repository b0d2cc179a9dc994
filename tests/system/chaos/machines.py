"""A machine's state follows its orders: what may be seen while, and after, each of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.system.chaos.history import (
    LIST,
    NEVER,
    Finding,
    Order,
    Sighting,
    orders,
    sightings,
)
from tests.system.chaos.record import Record

ABSENT = "(no machine)"
WAYS: dict[str, tuple[tuple[str, ...], ...]] = {  # the states an order leads through, by rank
    "deploy": ((ABSENT,), ("Starting",), ("Running",)),
    "start": (("Stopped",), ("Starting",), ("Running",)),
    "stop": (("Running", "Stopped"), ("Stopping",), ("Stopped",)),
    "destroy": (
        ("Running", "Stopped", "Error"), ("Stopping",), ("Destroyed",), ("Expunging",), (ABSENT,),
    ),
}  # fmt: skip


def states(record: Record) -> Iterator[Finding]:
    """Every sighting shows a state that the machine's orders explain."""
    lives: defaultdict[str, list[Order]] = defaultdict(list)
    for order in orders(record).values():
        if not order.refused:
            lives[order.machine].append(order)
    seen: defaultdict[str, list[Sighting]] = defaultdict(list)
    for sighting in sightings(record):
        seen[sighting.machine].append(sighting)
    for machine, some in seen.items():
        if machine not in lives:
            if any(s.row for s in some):
                yield Finding(check="machine-of-nobody", object=machine, what="nobody ordered it")
            continue
        life = Life(lives[machine])
        for sighting in sorted(some, key=lambda s: s.completed):
            if what := life.wrong(sighting):
                yield Finding(check="wrong-state", object=machine, what=what)


class Life:
    """One machine's orders, which its owner gave one after the other."""

    def __init__(self, orders: list[Order]) -> None:
        self.orders = sorted(orders, key=lambda order: order.invoked)
        self._ends = [order.ended for order in self.orders]
        self._ranks: defaultdict[int, list[tuple[float, int, str]]] = defaultdict(list)

    def wrong(self, seen: Sighting) -> str:
        """What is wrong with the sighting; empty if it is explained."""
        done = bisect_right(self._ends, seen.invoked)  # so many had ended before it
        begun = sum(order.invoked < seen.completed for order in self.orders)
        state = seen.row["state"] if seen.row else ABSENT
        last, under_way = self.orders[:done][-1:], self.orders[done:begun]
        if any(not o.well for o in (*last, *under_way)) or (seen.listed and state == ABSENT):
            return self._vanished(seen, state)
        allowed = {s for order in under_way for some in WAYS[order.verb] for s in some}
        allowed |= set(WAYS[last[0].verb][-1]) if last else {ABSENT}
        if state not in allowed:
            after = f"after {last[0].verb} {last[0].job}" if last else "before any order"
            during = "".join(f", during {o.verb} {o.job}" for o in under_way)
            return (
                f"client {seen.client} saw {state} from {seen.invoked:.3f} to "
                f"{seen.completed:.3f}, {after}{during}; only {sorted(allowed)} are explained"
            )
        if len(under_way) == 1 and not seen.listed:
            return self._went_back(done, under_way[0], seen, state)
        return ""

    def _vanished(self, seen: Sighting, state: str) -> str:
        """A machine whose creation was acknowledged is there until it is to be destroyed."""
        if state != ABSENT or not self.orders:
            return ""
        accepted = min((o.accepted for o in self.orders if o.verb == "deploy"), default=NEVER)
        ends = min((o.invoked for o in self.orders if o.verb == "destroy"), default=NEVER)
        if accepted < seen.invoked and seen.completed < ends:
            return f"client {seen.client} found no machine at {seen.invoked:.3f}: it was created"
        return ""

    def _went_back(self, at: int, order: Order, seen: Sighting, state: str) -> str:
        """While one order is at work the state moves one way."""
        rank = max(rank for rank, some in enumerate(WAYS[order.verb]) if state in some)
        for completed, before, was in self._ranks[at]:
            lowest = min(rank for rank, some in enumerate(WAYS[order.verb]) if state in some)
            if completed < seen.invoked and rank < before and lowest < before:
                return f"client {seen.client} saw {state} during {order.verb}, after {was}"
        self._ranks[at].append((seen.completed, rank, state))
        return ""


def addresses(record: Record) -> Iterator[Finding]:
    """No answer shows an address or a MAC twice in one network."""
    told: set[tuple[str, str, str]] = set()
    for request in record.of(LIST):
        holders: dict[tuple[str, str], str] = {}
        for row in request.answer.get("virtualmachine", []) if request.kind == "ok" else ():
            for nic in row.get("nic", []):
                for value in (nic.get("ipaddress"), nic.get("macaddress")):
                    if not value:
                        continue
                    other = holders.setdefault((nic["networkid"], value), row["id"])
                    if other != row["id"] and (other, row["id"], value) not in told:
                        told.add((other, row["id"], value))
                        what = f"machine {other} has {value} too, at {request.completed:.3f}"
                        yield Finding(check="address-twice", object=row["id"], what=what)
