"""Entities: rows with two halves, what is wanted and what was seen."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from csnode.types import Struct


class Fact(Struct):
    """Marks a column that reports what a role saw; only that role may write it."""

    by: str


class Key(Struct):
    """Marks a column that rows are found by: the data service keeps it in an index."""

    unique: bool = False


class Ref(Struct):
    """Marks a column that names a row of another kind, or several (a tuple of ids).

    The data service writes the name only while that row stands and has not begun to leave. That
    row goes only while no column that pins it names it.
    """

    to: str  # the other kind
    pins: bool = True  # False: that row may go first, for another column keeps it or nothing need
    part: bool = False  # the row belongs to the other, which may begin to leave while it has parts


class Was(Struct):
    """Marks a column that names a row which may be gone by now: history, or a hint."""

    to: str  # the other kind; empty: another column says


class Leaves(Struct):
    """Marks the column whose value says that the row is on its way out.

    Nothing new may refer to the row from then on. It gets that value only while nothing but its
    own parts refers to it, unless it may leave `used`: then what refers to it goes on doing so.
    """

    when: Any = True
    used: bool = False


class Entity(Struct, omit_defaults=True):
    """A row. Columns are intents (api, fabric and orchestrator write them) unless marked as facts.

    A new column needs a default, and then needs no migration; a new Key does.
    """

    kind: ClassVar[str] = ""
    told_by: ClassVar[tuple[str, ...]] = ()  # roles that only observe, and yet write its intents
    id: str
    revision: int = 0

    @classmethod
    def writers(cls) -> dict[str, str]:
        """Facts, and the role that may write each."""
        return {column: mark.by for column, mark in _marks(cls) if isinstance(mark, Fact)}

    @classmethod
    def keys(cls) -> dict[str, Key]:
        """The columns that rows are found by."""
        return {column: mark for column, mark in _marks(cls) if isinstance(mark, Key)}

    @classmethod
    def refs(cls) -> dict[str, Ref]:
        """The columns that name rows, which must stand."""
        return {column: mark for column, mark in _marks(cls) if isinstance(mark, Ref)}

    @classmethod
    def leaves(cls) -> tuple[str, Leaves] | None:
        """The column that says whether a row is on its way out, and how; None if none does."""
        found = ((column, mark) for column, mark in _marks(cls) if isinstance(mark, Leaves))
        return next(found, None)


def named(value: Any) -> tuple[str, ...]:
    """The ids in the value of a column that names one row, several, or none."""
    if not value:
        return ()
    return tuple(value) if isinstance(value, tuple | list) else (value,)  # type: ignore[arg-type]


@cache
def _marks(kind: type[Entity]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (column, mark)
        for column in kind.__struct_fields__
        if get_origin(hints[column]) is Annotated
        for mark in get_args(hints[column])[1:]
    )
