"""Records what is read of a view while an answer is made of it.

The view and the rows that `made` is handed are stand-ins: they answer as the real ones do, and
note each read. They offer nothing that could be read without a note.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, NoReturn, cast

from csnode.contracts.refusal import absent
from csnode.data.view import View
from csnode.faults import Broken
from csnode.model.entity import Entity

ID, EVERY = "id", ""  # the columns that `maybe` and `all` find rows by; EVERY has the value EVERY


class Readers:
    """Who found rows of one kind by one column: the names of what was made, by the value."""

    __slots__ = ("_names", "column", "own")

    def __init__(self, column: str) -> None:
        self.column = column
        self.own = False  # whether some found rows by their own names: these are not in `_names`
        self._names: dict[Any, str | set[str]] = {}

    def value(self, row: Entity) -> Any:
        """Return what the row is found by."""
        return EVERY if self.column == EVERY else getattr(row, self.column)

    def join(self, value: Any, name: str) -> bool:
        """Add a reader; False if `leave` need not take it away again, for it is there already.

        Alone it is kept as it is: a set of one takes four times the memory.
        """
        if value == name:
            self.own = True
            return False
        held = self._names.get(value)
        if held is None:
            self._names[value] = name
        elif isinstance(held, str):
            if held == name:
                return False
            self._names[value] = {held, name}
        elif name in held:
            return False
        else:
            held.add(name)
        return True

    def leave(self, value: Any, name: str) -> None:
        """Take a reader away."""
        held = self._names[value]
        if isinstance(held, set) and len(held) > 1:
            held.discard(name)
        else:
            del self._names[value]

    def having(self, value: Any) -> set[str]:
        """Return the names of all that found rows by the value, and perhaps of others."""
        held = self._names.get(value, ())
        names = {held} if isinstance(held, str) else set(held)
        return names | {value} if self.own and isinstance(value, str) else names


class KindReads:
    """What is read of one kind of row: its columns, and the values that rows were found by.

    Columns are kept for all answers of a shelf together, or each answer would cost many times as
    much memory. So an answer may be dropped once too often, never once too seldom.
    """

    def __init__(self, kind: type[Entity]) -> None:
        self.columns: set[str] = set()
        self.by_id = Readers(ID)
        self.found_by = {ID: self.by_id}
        self.stand_in = _stand_in(kind, self.columns.add)

    def by(self, column: str) -> Readers:
        """Return who found rows by that column."""
        readers = self.found_by.get(column)
        if readers is None:
            readers = self.found_by[column] = Readers(column)
        return readers

    def matters(self, old: Entity, new: Entity) -> bool:
        """Tell whether the two differ in a column that is read."""
        return any(getattr(old, column) != getattr(new, column) for column in self.columns)


class Recorder:
    """Stands in for a View while one thing is made; it has the reads of a View and nothing more."""

    def __init__(self, view: View, of: Callable[[type[Entity]], KindReads]) -> None:
        """Make a recorder; `of` gives what is read of a kind."""
        self._view, self._of = view, of
        self.notes: list[tuple[Readers, Any]] = []

    def as_view(self) -> View:
        """Return this, as the type that `made` declares."""
        return cast("View", self)

    def get(self, kind: type[Entity], id: str) -> Any:
        """Return the row. Raises NotFound."""
        row = self.maybe(kind, id)
        if row is None:
            raise absent(kind.kind, id)
        return row

    def maybe(self, kind: type[Entity], id: str | None) -> Any:
        """Return the row, or None: then it is noted that there was none."""
        if not id:
            return None
        reads = self._of(kind)
        self.notes.append((reads.by_id, id))
        row = self._view.maybe(kind, id)
        return None if row is None else reads.stand_in(row)

    def by(self, kind: type[Entity], column: str, value: Any) -> list[Any]:
        """Find rows whose column has the value.

        Which these are is noted, also where there is none.
        """
        reads = self._of(kind)
        self.notes.append((reads.by(column), value))
        return [reads.stand_in(row) for row in self._view.by(kind, column, value)]

    def all(self, kind: type[Entity]) -> list[Any]:
        """Return every row of the kind."""
        reads = self._of(kind)
        self.notes.append((reads.by(EVERY), EVERY))
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
    columns, methods = _members(kind)
    body: dict[str, Any] = {"__slots__": (), "__class__": property(lambda _: kind)}
    body |= methods | {name: _column(name, note) for name in columns}
    return type(f"{kind.__name__}Read", (_StandIn,), body)


@cache
def _members(kind: type[Entity]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the kind's columns and properties, and its methods and constants.

    Looked up once for each kind: an api that starts makes a stand-in of every one.
    """
    columns: list[str] = []
    methods: dict[str, Any] = {}
    for name in dir(kind):
        held = inspect.getattr_static(kind, name)
        if name in kind.__struct_fields__ or isinstance(held, property):
            columns.append(name)
        elif not name.startswith("__"):
            methods[name] = held if inspect.isfunction(held) else getattr(kind, name)
    return columns, methods


def _column(name: str, note: Callable[[str], None]) -> property:
    value = attrgetter("_row." + name)

    def read(row: _StandIn) -> Any:
        note(name)
        return value(row)

    return property(read)
