"""Layers of rows: a commit's over its batch's over the committed ones.

A commit writes into a layer of its own. If it ends well, the layer is absorbed by the batch's;
if not, it is dropped, and its neighbours never saw it. When the batch is on disk, the committed
rows absorb it. So nothing is ever undone, in memory or in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from csnode.faults import Invalid
from roles.data.kind import Kind
from roles.data.sqlite import Database

CACHE_BYTES = 16 * 1024 * 1024
Holdings = dict[str, int | None]
"""Range and value that an owner has of it; None: given back."""


class Row:
    """A row as some layer has it; `text` is empty if there is none."""

    __slots__ = ("keys", "revision", "stored", "text")

    def __init__(
        self, revision: int, text: bytes, stored: bool, keys: tuple[Any, ...] | None = None
    ) -> None:
        self.revision, self.text = revision, text
        self.stored = stored  # the table has a row of this id
        self.keys = keys  # None: as the table has them


class Rows(Protocol):
    """What may be asked of any layer."""

    def find(self, kind: Kind, id: str) -> Row:
        """The row; one with no text if there is none."""
        ...

    def having(self, kind: Kind, column: str, value: Any) -> str:
        """The id of the row with that unique value; empty if there is none."""
        ...

    def holdings(self, owner: str) -> Holdings:
        """What the owner took; the caller may change it."""
        ...

    def lowest(self, range: str, low: int) -> int:
        """No value of the range from `low` up to below this one is free."""
        ...


class Layer:
    """Changes over another layer."""

    def __init__(self, under: Rows) -> None:
        self.under = under
        self.rows: dict[tuple[Kind, str], Row] = {}
        self.having_of: dict[tuple[Kind, str, Any], str] = {}
        self.holdings_of: dict[str, Holdings] = {}
        self.lowest_of: dict[str, tuple[int, int]] = {}

    def find(self, kind: Kind, id: str) -> Row:
        return self.rows.get((kind, id)) or self.under.find(kind, id)

    def having(self, kind: Kind, column: str, value: Any) -> str:
        found = self.having_of.get((kind, column, value))
        return self.under.having(kind, column, value) if found is None else found

    def holdings(self, owner: str) -> Holdings:
        return self.under.holdings(owner) | self.holdings_of.get(owner, {})

    def lowest(self, range: str, low: int) -> int:
        since, lowest = self.lowest_of.get(range, (None, 0))
        return lowest if since == low else self.under.lowest(range, low)

    def absorb(self, over: Layer) -> None:
        """What the layer above says, this one says from now on."""
        self.rows.update(over.rows)
        self.having_of.update(over.having_of)
        for owner, held in over.holdings_of.items():
            self.holdings_of.setdefault(owner, {}).update(held)
        self.lowest_of.update(over.lowest_of)


class Stored:
    """The rows on disk, those used lately in memory, and the numbers of the feed.

    Only the one writer changes the tables, so what is remembered here stays true.
    """

    def __init__(self, database: Database, kinds: Mapping[str, Kind]) -> None:
        self._database = database
        self._kinds = kinds
        self.reload()

    def reload(self) -> None:
        """Forget everything and look again."""
        self._cache: dict[tuple[Kind, str], Row] = {}
        self._cached_bytes = 0
        self._lowest: dict[str, tuple[int, int]] = {}
        read = self._database.rows
        self.heads = {
            kind.decode(): number for kind, number in read("SELECT kind, number FROM head")
        }
        oldest = read("SELECT min(number) FROM feed")[0][0]
        newest = read("SELECT max(number) FROM feed")[0][0]
        self.last = max((newest or 0, *self.heads.values()))  # the same, unless somebody meddled
        self.floor = self.last if oldest is None else oldest - 1  # the feed begins past it

    def kind(self, name: str) -> Kind:
        """Raises Invalid."""
        kind = self._kinds.get(name)
        if kind is None:
            raise Invalid(f"no kind of row is called {name!r} where the data role runs")
        return kind

    def head(self, kinds: tuple[str, ...]) -> int:
        """The last number of any of the kinds."""
        return max((self.heads.get(self.kind(name).name, 0) for name in kinds), default=0)

    def remembered(self, kind: Kind, id: str) -> Row | None:
        """The row, if it is in memory."""
        return self._cache.get((kind, id))

    def find(self, kind: Kind, id: str) -> Row:
        row = self._cache.get((kind, id))
        if row is None:
            found = self._database.rows(kind.sql.select, (id,))
            row = Row(*found[0], stored=True) if found else Row(0, b"", stored=False)
            self._remember((kind, id), row)
        return row

    def having(self, kind: Kind, column: str, value: Any) -> str:
        found = self._database.rows(kind.sql.select_by[column], (value,))
        return found[0][0].decode() if found else ""

    def holdings(self, owner: str) -> Holdings:
        ids = self._database.rows(self._kinds["taken"].sql.select_by["owner"], (owner,))
        return dict(_split(id) for (id,) in ids)

    def lowest(self, range: str, low: int) -> int:
        since, lowest = self._lowest.get(range, (None, 0))
        if since != low:
            ids = self._database.rows(self._kinds["taken"].sql.select_by["range"], (range,))
            used = {_split(id)[1] for (id,) in ids}
            lowest = low
            while lowest in used:
                lowest += 1
            self._lowest[range] = low, lowest
        return lowest

    def absorb(self, batch: Layer) -> None:
        """The batch is on disk."""
        for key, row in batch.rows.items():
            row.stored = bool(row.text)
            row.keys = None
            self._remember(key, row)
        self._lowest.update(batch.lowest_of)

    def _remember(self, key: tuple[Kind, str], row: Row) -> None:
        self._forget(key)
        self._cache[key] = row
        self._cached_bytes += len(row.text) + 300
        while self._cached_bytes > CACHE_BYTES:
            self._forget(next(iter(self._cache)))

    def _forget(self, key: tuple[Kind, str]) -> None:
        if (old := self._cache.pop(key, None)) is not None:
            self._cached_bytes -= len(old.text) + 300


def _split(taken: bytes) -> tuple[str, int]:
    range, _, value = taken.decode().rpartition("=")
    return range, int(value)
