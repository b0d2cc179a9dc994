"""Why the data service refused, in fields: the `detail` of its fault, as JSON.

The message of such a fault speaks of kinds, ids and ranges, as logs and roles want it. Who
speaks to users makes words of theirs from the fields. A fault of a data service that is older has
another detail, and so no reason.
"""

from __future__ import annotations

import msgspec

from csnode.faults import Fault, NotFound
from csnode.types import Struct


class Refusal(Struct):
    """Base of the reasons."""

    @property
    def detail(self) -> str:
        """The reason as a fault carries it."""
        return msgspec.json.encode(self).decode()


class AtLimit(Refusal, tag="limit"):
    """A tally has as much as it may."""

    owner: str
    resource: str
    limit: int
    has: int
    by: int


class UsedUp(Refusal, tag="used up"):
    """No value of a range is free; values are written as rows have them."""

    range: str
    first: str
    last: str


class ValueTaken(Refusal, tag="taken"):
    """One value of a range is not free."""

    range: str
    value: str


class NotUnique(Refusal, tag="not unique"):
    """Another row has the value of a unique column."""

    kind: str
    column: str
    value: str


class Exists(Refusal, tag="exists"):
    """A row with the id of a new one exists."""

    kind: str
    id: str


class Moved(Refusal, tag="moved"):
    """A row has changed since it was read."""

    kind: str
    id: str
    was: int
    now: int


class Absent(Refusal, tag="absent"):
    """A row that is needed does not exist."""

    kind: str
    id: str
    by: str = ""  # the kind of the row that names it


class Leaving(Refusal, tag="leaving"):
    """A row that is named is on its way out."""

    kind: str
    id: str


class Needed(Refusal, tag="needed"):
    """A row that is to go is named by another one."""

    kind: str
    id: str
    by: str
    by_id: str


Reason = AtLimit | UsedUp | ValueTaken | NotUnique | Exists | Moved | Absent | Leaving | Needed
_reason: msgspec.json.Decoder[Reason] = msgspec.json.Decoder(Reason)


def reason_of(fault: Fault) -> Reason | None:
    """Read why the data service refused; None if the fault does not say."""
    if not fault.detail.startswith("{"):
        return None
    try:
        return _reason.decode(fault.detail)
    except msgspec.DecodeError:
        return None


def absent(kind: str, id: str) -> NotFound:
    """Make the fault of a row that does not exist."""
    return NotFound(f"no {kind} {id}", detail=Absent(kind=kind, id=id).detail)
