"""Layers of rows: a commit's over its batch's over the committed ones.

A commit writes into a layer of its own. If it ends well, the layer is absorbed by the batch's;
if not, it is dropped, and its neighbours never saw it. When the batch is on disk, the committed
rows absorb it. So nothing is ever undone, in memory or in SQL.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

from roles.data.kind import Kind, Pin

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
        """Return the row; one with no text if there is none."""
        ...

    def having(self, kind: Kind, column: str, value: Any) -> str:
        """Return the id of the row with that unique value; empty if there is none."""
        ...

    def referrer(self, pin: Pin, id: str, besides: Set[str]) -> str:
        """Return the id of a row, none of these, whose column names that id; empty if none does."""
        ...

    def holdings(self, owner: str) -> Holdings:
        """Return what the owner took; the caller may change it."""
        ...

    def lowest(self, range: str, low: int) -> int:
        """Return a value of the range: none from `low` up to below it is free."""
        ...


class Layer:
    """Changes over another layer."""

    def __init__(self, under: Rows) -> None:
        self.under = under
        self.rows: dict[tuple[Kind, str], Row] = {}
        self.having_of: dict[tuple[Kind, str, Any], str] = {}
        self.naming_of: dict[tuple[Pin, str], dict[str, bool]] = {}  # of an id: who (not) names it
        self.holdings_of: dict[str, Holdings] = {}
        self.lowest_of: dict[str, tuple[int, int]] = {}

    def find(self, kind: Kind, id: str) -> Row:
        return self.rows.get((kind, id)) or self.under.find(kind, id)

    def having(self, kind: Kind, column: str, value: Any) -> str:
        found = self.having_of.get((kind, column, value))
        return self.under.having(kind, column, value) if found is None else found

    def referrer(self, pin: Pin, id: str, besides: Set[str]) -> str:
        known = self.naming_of.get((pin, id), {})
        for row, names in known.items():
            if names and row not in besides:
                return row
        return self.under.referrer(pin, id, besides | known.keys())

    def holdings(self, owner: str) -> Holdings:
        return self.under.holdings(owner) | self.holdings_of.get(owner, {})

    def lowest(self, range: str, low: int) -> int:
        since, lowest = self.lowest_of.get(range, (None, 0))
        return lowest if since == low else self.under.lowest(range, low)

    def absorb(self, over: Layer) -> None:
        """Take over what the layer above says, from now on."""
        self.rows.update(over.rows)
        self.having_of.update(over.having_of)
        for named, by in over.naming_of.items():
            self.naming_of.setdefault(named, {}).update(by)
        for owner, held in over.holdings_of.items():
            self.holdings_of.setdefault(owner, {}).update(held)
        self.lowest_of.update(over.lowest_of)
