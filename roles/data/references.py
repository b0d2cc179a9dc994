"""References: a row is written only while what it names stands, and goes only while unnamed.

A draft notes what its changes name anew and what they take away. All of it is checked once every
change of the commit is worked out, so that their order within the commit does not matter.
"""

from __future__ import annotations

from csnode.contracts.refusal import Absent, Leaving, Needed
from csnode.faults import Conflict, NotFound
from csnode.model.entity import named
from csnode.model.stock import Taken
from roles.data.draft import Draft
from roles.data.kind import Kind, Pin, Pins


def check(draft: Draft, pins: Pins) -> None:
    """Raise NotFound if a row names what is not there.

    Raise Conflict if it names what is leaving, or if others still need a row that is to go.
    """
    for (kind, id, column), names in draft.names.items():
        if names and draft.find(kind, id).text:
            for name in names:
                _check_stands(draft, kind, draft.kind(kind.refs[column].to), name)
    for kind, id in draft.parting:
        goes = not draft.find(kind, id).text
        for pin in pins[kind.name]:
            if goes or not pin.ref.part:
                _check_unused(draft, kind, id, pin)


def _check_stands(draft: Draft, by: Kind, target: Kind, name: str) -> None:
    text = draft.find(target, name).text
    if not text:
        reason = Absent(kind=target.name, id=name, by=by.name)
        raise NotFound(f"there is no {_plain(target)} {name}", detail=reason.detail)
    if target.leaves and target.is_leaving(target.parse(name, text)):
        said = f"the {_called(draft, target, name)} is being deleted"
        reason = Leaving(kind=target.name, id=name)
        raise Conflict(said, detail=reason.detail, code=431, cs=4350)


def _check_unused(draft: Draft, kind: Kind, id: str, pin: Pin) -> None:
    if by := draft.referrer(pin, id, frozenset()):
        what, user = _called(draft, kind, id), _called(draft, pin.kind, by)
        reason = Needed(kind=kind.name, id=id, by=pin.kind.name, by_id=by)
        said = f"the {what} is still needed by the {user}"
        raise Conflict(said, detail=reason.detail, code=431, cs=4350)


def _called(draft: Draft, kind: Kind, id: str) -> str:
    """Name a row in its user's words: by its name, or as a part of what has one."""
    text = draft.find(kind, id).text or draft.under.find(kind, id).text
    row = kind.parse(id, text) if text else None
    if isinstance(row, Taken):
        return f"owner {row.owner} of a value of it"
    if name := getattr(row, "name", ""):
        return f"{_plain(kind)} {name} ({id})"
    for column, ref in kind.refs.items():
        for owner in named(getattr(row, column, None)) if ref.part else ():
            return f"{_plain(kind)} {id} of the {_called(draft, draft.kind(ref.to), owner)}"
    return f"{_plain(kind)} {id}"


def _plain(kind: Kind) -> str:
    return kind.name.replace("_", " ")
