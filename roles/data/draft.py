"""A draft: what one commit makes of the rows, change by change."""

from __future__ import annotations

import re
from collections.abc import Set

import msgspec

from csnode.contracts.refusal import Exists, Moved, NotUnique, absent
from csnode.data.rows import encoded
from csnode.faults import Conflict, Invalid, Stale
from csnode.model.entity import Entity, named
from roles.data.kind import Fields, Kind, Pin, fields_of
from roles.data.layer import Layer, Row, Rows
from roles.data.stored import Stored

KEY_MAX = 2**63
_control = re.compile(r"[\x00-\x1f]")


class Draft(Layer):
    """The layer of one commit. A row has one revision more than before the commit, however often
    the commit touches it.
    """

    def __init__(self, under: Rows, stored: Stored, now: float) -> None:
        super().__init__(under)
        self.kind, self._kinds = stored.kind, stored.kinds
        self.now = now  # seconds since 1970, by this service's clock
        self.got: list[int] = []
        self.names: dict[tuple[Kind, str, str], tuple[str, ...]] = {}  # anew, by row and column
        self.parting: set[tuple[Kind, str]] = set()  # rows that go, or begin to leave

    def need(self, kind: Kind, id: str) -> Row:
        """Return the row. Raises NotFound."""
        row = self.find(kind, id)
        if not row.text:
            raise absent(kind.name, id)
        return row

    def check_revision(self, kind: Kind, id: str, revision: int) -> None:
        """Raise Stale if the row was at another revision before this commit; 0 means any."""
        if revision:
            before = self.under.find(kind, id)
            if revision != (before.revision if before.text else 1):
                reason = Moved(kind=kind.name, id=id, was=revision, now=before.revision)
                raise Stale(f"{kind.name} {id} has changed since it was read", detail=reason.detail)

    def check_alone(self, kind: Kind, id: str) -> None:
        """Raise Conflict if a row of another kind has the id."""
        for other in self._kinds():
            if other is not kind and self.find(other, id).text:
                raise Conflict(
                    f"{id} is the id of a {other.name} already: no {kind.name} can have it"
                )

    def create(self, kind: Kind, id: str, fields: Fields) -> None:
        """Create a row that was not there. Raises Conflict if it was."""
        before = self.find(kind, id)
        if before.text:
            reason = Exists(kind=kind.name, id=id)
            raise Conflict(f"{kind.name} {id} exists already", detail=reason.detail)
        if not id or _control.search(id):
            raise Invalid(f"{id!r} cannot be the id of a {kind.name}")
        self._write(kind, id, before, fields, None)

    def put(self, kind: Kind, row: Entity) -> None:
        """Put a row as it is to be, whether there is one or not."""
        fields = fields_of(encoded(row), kind.name)
        before = self.find(kind, row.id)
        if before.text:
            self._write(kind, row.id, before, fields, None)
        else:
            self.create(kind, row.id, fields)

    def patch(self, kind: Kind, id: str, before: Row, columns: Fields) -> None:
        """Set new values of some columns; nothing happens if the row has them all."""
        fields = fields_of(before.text, id)
        defaults = kind.defaults
        changed = {c: v for c, v in columns.items() if fields.get(c, defaults.get(c)) != v}
        if changed:
            fields.update(changed)
            self._write(kind, id, before, fields, changed.keys())

    def remove(self, kind: Kind, id: str) -> None:
        """Remove the row, if there is one."""
        row = self.find(kind, id)
        if row.text:
            self._claim(kind, id, row, None)
            self._refer(kind, id, row, None, None)
            self.rows[kind, id] = Row(self._revision(kind, id), b"", row.stored)
            self.parting.add((kind, id))

    def _revision(self, kind: Kind, id: str) -> int:
        before = self.under.find(kind, id)
        return before.revision + 1 if before.text else 1

    def _write(
        self, kind: Kind, id: str, before: Row, fields: Fields, changed: Set[str] | None
    ) -> None:
        """Write the row; `changed` are the columns that have other values now, or None: any may."""
        revision = self._revision(kind, id)
        fields["revision"] = msgspec.Raw(b"%d" % revision)
        text = encoded(fields)
        row = kind.parse(id, text)
        if row.id != id:
            raise Invalid(f"the {kind.name} that was to be {id} calls itself {row.id}")
        values = before.keys
        if changed is None or kind.unique or not changed.isdisjoint(kind.keys):
            values = kind.key_values(row)
            if any(isinstance(v, int) and not -KEY_MAX <= v < KEY_MAX for v in values):
                raise Invalid(f"{kind.name} {id}: a number is too large to be found by")
        self._claim(kind, id, before, row)
        self._refer(kind, id, before, row, changed)
        self.rows[kind, id] = Row(revision, text, before.stored, values)

    def _refer(
        self, kind: Kind, id: str, before: Row, row: Entity | None, changed: Set[str] | None
    ) -> None:
        """Note what the row names from now on, and whether it begins to leave."""
        columns = [c for c in kind.refs if changed is None or c in changed]
        leaves = kind.leaves is not None and (changed is None or kind.leaves[0] in changed)
        if not columns and not leaves:
            return
        old = kind.parse(id, before.text) if before.text else None
        for column in columns:
            had, has = named(getattr(old, column, None)), named(getattr(row, column, None))
            if had == has:
                continue
            if kind.refs[column].pins:
                for name in (*had, *has):
                    self.naming_of.setdefault((Pin(kind, column), name), {})[id] = name in has
            anew = self.names.get((kind, id, column), ())
            anew = tuple(name for name in has if name in anew or name not in had)
            self.names[kind, id, column] = anew
        begins = leaves and row is not None and kind.is_leaving(row)
        if begins and not kind.leaves_used and not (old and kind.is_leaving(old)):
            self.parting.add((kind, id))

    def _claim(self, kind: Kind, id: str, before: Row, row: Entity | None) -> None:
        """Claim unique values: what the row had is free, what it has is its own.

        Raises Conflict.
        """
        if not kind.unique:
            return
        old = kind.parse(id, before.text) if before.text else None
        for column in kind.unique:
            had = getattr(old, column) if old else None
            has = getattr(row, column) if row else None
            if had == has:
                continue
            if has is not None:
                if self.having(kind, column, has) not in ("", id):
                    reason = NotUnique(kind=kind.name, column=column, value=str(has))
                    text = f"another {kind.name} has the {column} {has!r}"
                    raise Conflict(text, detail=reason.detail)
                self.having_of[kind, column, has] = id
            if had is not None:
                self.having_of[kind, column, had] = ""
