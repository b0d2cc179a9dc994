"""A draft: what one commit makes of the rows, change by change."""

from __future__ import annotations

import re

import msgspec

from csnode.data.rows import encoded
from csnode.faults import Conflict, Invalid, NotFound, Stale
from csnode.model.entity import Entity
from roles.data.kind import Fields, Kind, fields_of
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
        self.kind = stored.kind
        self.now = now  # seconds since 1970, by this service's clock
        self.got: list[int] = []

    def need(self, kind: Kind, id: str) -> Row:
        """The row; NotFound."""
        row = self.find(kind, id)
        if not row.text:
            raise NotFound(f"no {kind.name} {id}")
        return row

    def check_revision(self, kind: Kind, id: str, revision: int) -> None:
        """Raises Stale if the row was at another revision before this commit; 0 means any."""
        if revision:
            before = self.under.find(kind, id)
            if revision != (before.revision if before.text else 1):
                raise Stale(
                    f"{kind.name} {id} has changed since it was read",
                    detail=f"revision {revision}, now {before.revision}",
                )

    def create(self, kind: Kind, id: str, fields: Fields) -> None:
        """A row there was not; Conflict if there is."""
        before = self.find(kind, id)
        if before.text:
            raise Conflict(f"{kind.name} {id} exists already")
        if not id or _control.search(id):
            raise Invalid(f"{id!r} cannot be the id of a {kind.name}")
        self._write(kind, id, before, fields, keys=True)

    def put(self, kind: Kind, row: Entity) -> None:
        """A row as it is to be, whether there is one or not."""
        fields = fields_of(encoded(row), kind.name)
        before = self.find(kind, row.id)
        if before.text:
            self._write(kind, row.id, before, fields, keys=True)
        else:
            self.create(kind, row.id, fields)

    def patch(self, kind: Kind, id: str, before: Row, columns: Fields) -> None:
        """New values for some columns; nothing happens if the row has them all."""
        fields = fields_of(before.text, id)
        defaults = kind.defaults
        changed = {c: v for c, v in columns.items() if fields.get(c, defaults.get(c)) != v}
        if changed:
            fields.update(changed)
            self._write(kind, id, before, fields, keys=not changed.keys().isdisjoint(kind.keys))

    def remove(self, kind: Kind, id: str) -> None:
        """The row goes, if there is one."""
        row = self.find(kind, id)
        if row.text:
            self._claim(kind, id, row, None)
            self.rows[kind, id] = Row(self._revision(kind, id), b"", row.stored)

    def _revision(self, kind: Kind, id: str) -> int:
        before = self.under.find(kind, id)
        return before.revision + 1 if before.text else 1

    def _write(self, kind: Kind, id: str, before: Row, fields: Fields, keys: bool) -> None:
        revision = self._revision(kind, id)
        fields["revision"] = msgspec.Raw(b"%d" % revision)
        text = encoded(fields)
        row = kind.parse(id, text)
        if row.id != id:
            raise Invalid(f"the {kind.name} that was to be {id} calls itself {row.id}")
        values = before.keys
        if keys or kind.unique:
            values = kind.key_values(row)
            if any(isinstance(v, int) and not -KEY_MAX <= v < KEY_MAX for v in values):
                raise Invalid(f"{kind.name} {id}: a number is too large to be found by")
        self._claim(kind, id, before, row)
        self.rows[kind, id] = Row(revision, text, before.stored, values)

    def _claim(self, kind: Kind, id: str, before: Row, row: Entity | None) -> None:
        """Unique values: what the row had is free, what it has is its own. Conflict."""
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
                    raise Conflict(f"another {kind.name} has the {column} {has!r}")
                self.having_of[kind, column, has] = id
            if had is not None:
                self.having_of[kind, column, had] = ""
