"""Records what is read of a view while an answer is made of it.

The view and the rows that `made` is handed are stand-ins: they answer as the real ones do, and
note each read. They offer nothing that could be read without a note.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NoReturn, cast

from csnode.contracts.refusal import absent
from csnode.data.view import View
from csnode.faults import Broken
from csnode.model.entity import Entity

ID, EVERY = "id", ""  # the columns that `maybe` and `all` find rows by; EVERY has the value EVERY


class KindReads:
    """What is read of one kind of row: its columns, and the values that rows were found by.

    Columns are kept for all answers of a shelf together, or each answer would cost many times as
    much memory. So an answer may be dropped once too often, never once too seldom.
    """

    def __init__(self, kind: type[Entity]) -> None:
        self.columns: set[str] = set()
        self.readers: dict[str, dict[Any, str | set[str]]] = {}  # by column, then by value
        self.own: set[str] = set()  # columns by which readers found rows that name the reader
        self.stand_in = _stand_in(kind, self.columns.add)

    def matters(self, old: Entity, new: Entity) -> bool:
        """Whether the two differ in a column that is read."""
        return any(getattr(old, column) != getattr(new, column) for column in self.columns)


Note = tuple[KindReads, str, Any]


class Recorder:
    """Stands in for a View while one thing is made; it has the reads of a View and nothing more."""

    def __init__(self, view: View, of: Callable[[type[Entity]], KindReads]) -> None:
        """`of` gives what is read of a kind."""
        self._view, self._of = view, of
        self.notes: set[Note] = set()

    def as_view(self) -> View:
        """Return this, as the type that `made` declares."""
        return cast("View", self)

    def get(self, kind: type[Entity], id: str) -> Any:
        """The row; NotFound."""
        row = self.maybe(kind, id)
        if row is None:
            raise absent(kind.kind, id)
        return row

    def maybe(self, kind: type[Entity], id: str | None) -> Any:
        """The row, or None: then it is noted that there was none."""
        if not id:
            return None
        reads = self._of(kind)
        self.notes.add((reads, ID, id))
        row = self._view.maybe(kind, id)
        return None if row is None else reads.stand_in(row)

    def by(self, kind: type[Entity], column: str, value: Any) -> list[Any]:
        """Rows whose column has the value; which these are is noted, also where there is none."""
        reads = self._of(kind)
        self.notes.add((reads, column, value))
        return [reads.stand_in(row) for row in self._view.by(kind, column, value)]

    def all(self, kind: type[Entity]) -> list[Any]:
        """Every row of the kind."""
        reads = self._of(kind)
        self.notes.add((reads, EVERY, EVERY))
        return [reads.stand_in(row) for row in self._view.all(kind)]

    def __getattr__(self, name: str) -> NoReturn:
        raise Broken(
            f"an answer asked its view for {name!r}, which cannot be recorded:"
            " it may use get, maybe, by and all"
        )


class _StandIn:
    """Base of what stands in for a row. It is no row: neither compared nor encoded as a whole."""

    __slots__ = ("_row",)

    def __init__(self, row: Entity) -> None:
        self._row = row

    def __eq__(self, other: object) -> bool:
        raise Broken("an answer compared a row as a whole: compare the columns that it shows")

    __hash__ = None  # type: ignore[assignment]


def _stand_in(kind: type[Entity], note: Callable[[str], None]) -> Callable[[Entity], Any]:
    """Return the class of stand-ins for rows of the kind: it notes each column that is read.

    A property is noted as a column is, by its value; a method reads the columns of the stand-in.
    """
    body: dict[str, Any] = {"__slots__": (), "__class__": property(lambda _: kind)}
    for name in dir(kind):
        held = inspect.getattr_static(kind, name)
        if name in kind.__struct_fields__ or isinstance(held, property):
            body[name] = _column(name, note)
        elif not name.startswith("__"):
            body[name] = held if inspect.isfunction(held) else getattr(kind, name)
    return type(f"{kind.__name__}Read", (_StandIn,), body)


def _column(name: str, note: Callable[[str], None]) -> property:
    value = attrgetter("_row." + name)

    def read(row: _StandIn) -> Any:
        note(name)
        return value(row)

    return property(read)
