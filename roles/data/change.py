"""What each change of a commit does to the commit's draft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csnode.contracts.data import (
    ChangeItem,
    Count,
    Create,
    Delete,
    Give,
    Hold,
    Take,
    Update,
)
from csnode.faults import Denied
from roles.data.draft import Draft
from roles.data.kind import Kind, fields_of
from roles.data.stock import check_over, count, give, hold, take

OWN = {"taken": "take and give", "tally": "count", "lease": "hold"}
"""Kinds of row that only the data service writes, and the changes that have it do so."""


def apply(draft: Draft, item: ChangeItem) -> None:
    """Apply a change. Raises the Fault that ends the commit."""
    _DO[type(item)](draft, item)


def create(draft: Draft, item: Create) -> None:
    """Create a row."""
    kind = _writable(draft, item.kind)
    fields = fields_of(item.row, f"{item.kind} {item.id}")
    kind.check_known({c: v for c, v in fields.items() if c not in ("id", "revision")})
    if item.alone:
        draft.check_alone(kind, item.id)
    draft.create(kind, item.id, fields)


def update(draft: Draft, item: Update) -> None:
    """Set new values of some columns."""
    kind = _writable(draft, item.kind)
    row = draft.need(kind, item.id)
    draft.check_revision(kind, item.id, item.revision)
    columns = fields_of(item.columns, f"{item.kind} {item.id}")
    kind.check_writable(columns, item.by)
    draft.patch(kind, item.id, row, columns)


def delete(draft: Draft, item: Delete) -> None:
    """Delete the row; an owner's tally may go too, and a lease that nobody holds any more."""
    kind = draft.kind(item.kind)
    if item.kind == "lease":
        check_over(draft, item.id)
    elif item.kind != "tally":
        _writable(draft, item.kind)
    if draft.find(kind, item.id).text:
        draft.check_revision(kind, item.id, item.revision)
        draft.remove(kind, item.id)


def _writable(draft: Draft, name: str) -> Kind:
    kind = draft.kind(name)
    if name in OWN:
        raise Denied(f"{name} rows come and go by {OWN[name]}")
    return kind


_DO: dict[type[ChangeItem], Callable[[Draft, Any], None]] = {
    Create: create,
    Update: update,
    Delete: delete,
    Take: take,
    Give: give,
    Count: count,
    Hold: hold,
}
