"""Entities: rows with two halves, what is wanted and what was seen."""

from __future__ import annotations

import sys
from functools import cache
from inspect import get_annotations
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from csnode.faults import Broken
from csnode.model.owner import Ownership, Through
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

    A new column needs a default, and then needs no migration; a new Key does. A kind that does not
    say in its own class whose its rows are (`owned_by`) is refused when it is declared.
    """

    kind: ClassVar[str] = ""
    owned_by: ClassVar[Ownership]
    told_by: ClassVar[tuple[str, ...]] = ()  # roles that only observe, and yet write its intents
    id: str
    revision: int = 0

    def __init_subclass__(cls) -> None:
        """Refuse a kind without an owner. A class without `kind` is no kind: part of another."""
        super().__init_subclass__()
        if cls.__dict__.get("kind"):
            cls.owned_by = _checked_owner(cls)
            _DECLARED[cls.kind] = cls

    @classmethod
    def writers(cls) -> dict[str, str]:
        """Return facts, and the role that may write each."""
        return {column: mark.by for column, mark in _marks(cls) if isinstance(mark, Fact)}

    @classmethod
    def keys(cls) -> dict[str, Key]:
        """Return the columns that rows are found by."""
        return {column: mark for column, mark in _marks(cls) if isinstance(mark, Key)}

    @classmethod
    def refs(cls) -> dict[str, Ref]:
        """Return the columns that name rows, which must stand."""
        return {column: mark for column, mark in _marks(cls) if isinstance(mark, Ref)}

    @classmethod
    def leaves(cls) -> tuple[str, Leaves] | None:
        """Return the column that says whether a row is on its way out, and how; None if none."""
        found = ((column, mark) for column, mark in _marks(cls) if isinstance(mark, Leaves))
        return next(found, None)


_DECLARED: dict[str, type[Entity]] = {}


def declared_kind(name: str) -> type[Entity]:
    """Return the class of the kind of that name. Raises Broken if no class declares it."""
    if name not in _DECLARED:
        raise Broken(f"no kind {name!r} is declared: import the module that declares it first")
    return _DECLARED[name]


def _checked_owner(kind: type[Entity]) -> Ownership:
    """Return what the class declares as its owner. Raises Broken if it declares none, or one that
    its columns do not give.
    """
    declared: Ownership | None = kind.__dict__.get("owned_by")
    where = f"{kind.__module__}.{kind.__name__}"
    if declared is None:
        raise Broken(
            f"{where} does not declare whose its rows are: set owned_by in the class to ByAccount,"
            " ByDomain, OfferedTo, Everyone, Operators or Through (csnode.model.owner)"
        )
    found: dict[str, str] = {}
    for column, wanted in declared.names().items():
        found[column] = _named_kind(kind, column)
        if not found[column] or wanted not in ("", found[column]):
            raise Broken(
                f"{where} is owned by its column {column}, which does not name one row"
                f" {'of the kind ' + wanted if wanted else ''}: mark it Ref or Was"
            )
    for column in declared.flags():
        if _hint(kind, column) is None:
            raise Broken(f"{where} is owned by its column {column}, which it does not have")
    declared = declared.bound(found)
    _check_no_circle(kind, declared)
    return declared


def _named_kind(kind: type[Entity], column: str) -> str:
    """Return the kind of the one row that a column names; "" if it names none, or several."""
    if column == "id":
        return kind.kind
    hint = _hint(kind, column)
    if get_origin(hint) is not Annotated or get_origin(get_args(hint)[0]) is tuple:
        return ""
    return next((mark.to for mark in get_args(hint)[1:] if isinstance(mark, Ref | Was)), "")


def _hint(kind: type[Entity], column: str) -> Any:
    """Return one column's type with its marks, while the class is being made; None if it has no
    such column.
    """
    for base in kind.__mro__:
        if column in (notes := get_annotations(base)):
            alone = SimpleNamespace(__annotations__={column: notes[column]})
            names = vars(sys.modules[base.__module__])
            return get_type_hints(alone, names, include_extras=True)[column]
    return None


def _check_no_circle(kind: type[Entity], declared: Ownership) -> None:
    """Raise Broken if the kind belongs, through others, to itself; the last of them is told."""
    path = [kind.kind]
    while isinstance(declared, Through):
        path.append(declared.to)
        if declared.to == kind.kind:
            raise Broken(f"owners go round in a circle: {' -> '.join(path)}")
        other = _DECLARED.get(declared.to)
        if other is None:
            return
        declared = other.owned_by


def named(value: Any) -> tuple[str, ...]:
    """Return the ids in the value of a column that names one row, several, or none."""
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
