"""What is scarce: ranges of values that have one owner each, and tallies that have a limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Ref, Was
from csnode.model.owner import Operators, Ownership


class RangeForm(StrEnum):
    """How a value of a range is written into the row that takes it."""

    NUMBER = "number"
    IPV4 = "ipv4"  # 192.0.2.1 for 3221225985


class Range(Entity):
    """Values low..high (inclusive), of which `take` gives the lowest free one.

    id: see csnode.model.ids. `form` is a RangeForm; the data service refuses any other when a
    value is taken, and not the row.
    """

    kind: ClassVar[str] = "range"
    owned_by: ClassVar[Ownership] = Operators()

    low: int
    high: int
    form: str = RangeForm.NUMBER


class Taken(Entity):
    """One value with its owner; id: "RANGE=VALUE", which makes the value unique."""

    kind: ClassVar[str] = "taken"
    owned_by: ClassVar[Ownership] = Operators()

    range: Annotated[str, Key(), Ref(to="range")]
    value: int
    owner: Annotated[str, Key(), Was(to="")]  # a row of any kind


class Tally(Entity):
    """How much an owner (an account, a host, a pool) uses of each resource; id: the owner's."""

    kind: ClassVar[str] = "tally"
    owned_by: ClassVar[Ownership] = Operators()

    used: dict[str, int] = {}


def usage(tally: Tally | None) -> Mapping[str, int]:
    """Return what an owner uses of each resource; nothing if there is no tally of it."""
    return tally.used if tally is not None else {}


def miscounted(
    used: Mapping[str, int], right: Mapping[str, int], of: Iterable[str]
) -> tuple[str, ...]:
    """Name what a tally counts other than its rows add up to; what is absent counts as 0."""
    return tuple(what for what in of if used.get(what, 0) != right.get(what, 0))


class Lock(Entity):
    """An object that a job needs alone; id: "vm:ID". It comes and goes with the job's commits."""

    kind: ClassVar[str] = "lock"
    owned_by: ClassVar[Ownership] = Operators()

    job: Annotated[str, Key(), Was(to="job")]


class Lease(Entity):
    """Held by one at a time, for a while; id: its name. `fence` grows with every new holder.

    `until` is in seconds of the data service's own clock: nobody else compares it.
    """

    kind: ClassVar[str] = "lease"
    owned_by: ClassVar[Ownership] = Operators()

    holder: str = ""
    fence: int = 0
    until: float = 0.0
