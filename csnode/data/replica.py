"""A replica: rows of some kinds in memory, with indexes and listeners.

Reads need no round trip. A `RowWriter` puts rows there; see `View`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

from csnode.bus.event import Entry
from csnode.contracts.refusal import absent
from csnode.data.index import Index
from csnode.data.rows import decoded
from csnode.model.entity import Entity

E = TypeVar("E", bound=Entity)
Listener = Callable[[Any, Any], None]
Kinds = Mapping[str, type[Entity]]
Rows = dict[str, dict[str, Entity]]
Indexes = dict[tuple[str, str], Index]
Listeners = Mapping[str, list[Listener]]


class Replica:
    """Reads rows of the kinds it was made for. A `RowWriter` puts them there."""

    def __init__(self, kinds: tuple[type[Entity], ...]) -> None:
        self._kinds = {kind.kind: kind for kind in kinds}
        self._rows: Rows = {name: {} for name in self._kinds}
        self._indexes: Indexes = {}
        self._listeners: dict[str, list[Listener]] = defaultdict(list)

    def get(self, kind: type[E], id: str) -> E:
        """Return the row. Raises NotFound."""
        row = self._rows[kind.kind].get(id)
        if row is None:
            raise absent(kind.kind, id)
        return cast("E", row)

    def maybe(self, kind: type[E], id: str | None) -> E | None:
        """Return the row, or None."""
        return cast("E | None", self._rows[kind.kind].get(id or ""))

    def all(self, kind: type[E]) -> list[E]:
        """List every row of the kind, in no order."""
        return cast("list[E]", list(self._rows[kind.kind].values()))

    def size(self, kind: type[Entity]) -> int:
        """Count the rows of the kind."""
        return len(self._rows[kind.kind])

    def by(self, kind: type[E], column: str, value: Any) -> list[E]:
        """List rows whose column has the value. The first call makes an index, which is kept."""
        index = self._indexes.get((kind.kind, column))
        if index is None:
            index = self._indexes[kind.kind, column] = Index(column, self._rows[kind.kind].values())
        return cast("list[E]", index.having(value))

    def listen(self, kind: type[Entity], listener: Listener) -> None:
        """Call listener(old, new) at every change; old or new is None for a new or deleted row."""
        self._listeners[kind.kind].append(listener)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)


class RowWriter:
    """Puts rows into a replica, keeps its indexes right, and calls its listeners."""

    def __init__(self, kinds: Kinds, rows: Rows, indexes: Indexes, listeners: Listeners) -> None:
        """Take four things, all of them the replica's own."""
        self._kinds, self._rows, self._indexes, self._listeners = kinds, rows, indexes, listeners

    def apply(self, name: str, entry: Entry) -> None:
        """Take in an entry of the feed, unless the row here is as new."""
        held = self._rows[name].get(entry.id)
        if held is None or held.revision < entry.revision:
            self.put(name, entry.id, entry.row)

    def put(self, name: str, id: str, text: bytes) -> None:
        """Replace the row of that kind and id; an empty text means that there is none."""
        rows = self._rows[name]
        old = rows.get(id)
        row: Entity | None = None
        if text:
            row = rows[id] = decoded(self._kinds[name], text)
        else:
            rows.pop(id, None)
        for (kind, _), index in self._indexes.items():
            if kind == name:
                index.put(id, old, row)
        if old is not None or row is not None:
            for listener in self._listeners.get(name, ()):
                listener(old, row)

    def keep(self, name: str, ids: set[str]) -> None:
        """Drop every row of the kind that is not among these."""
        for id in [id for id in self._rows[name] if id not in ids]:
            self.put(name, id, b"")
