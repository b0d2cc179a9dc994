"""What a declaration says of a parameter or a field besides its type, and how it is read off.

Attributes are snake_case; the wire name drops the underscores, by rule and not by hand (the few
that CloudStack writes otherwise have msgspec.field(name=...)). The type word of listApis follows
from Python's type unless a `Word` says otherwise.
"""

from __future__ import annotations

import inspect
from enum import IntEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from csnode.types import Struct

STRING_MAX = 255


class Rank(IntEnum):
    """Who a caller is, least first."""

    USER = 1
    DOMAIN_ADMIN = 2
    ROOT_ADMIN = 3


class About(msgspec.Struct, frozen=True):
    """What a caller is told of a parameter, or of a field of an answer."""

    text: str
    since: str = ""
    length: int = STRING_MAX  # characters; a longer string parameter is refused
    allows: Rank = Rank.USER  # a field above the caller's rank is left out of his answers


class Word(msgspec.Struct, frozen=True):
    """The type's name in listApis where Python's type does not say it."""

    text: str


class By(msgspec.Struct, frozen=True):
    """A list parameter that filters: rows whose column has the value are kept."""

    column: str


class Free(msgspec.Struct, frozen=True):
    """Marks an id that names no row of one kind, or a map without ids; `why` says what it names."""

    why: str


class Unscoped(msgspec.Struct, frozen=True):
    """Marks an id that may be of a row that the caller does not see: it is looked up all the same.

    The command itself then refuses, or shows nothing of the row; `why` says how.
    """

    why: str


class Entries(msgspec.Struct, frozen=True):
    """Marks a map whose entries hold ids: by key, the types of these ids."""

    ids: tuple[tuple[str, Any], ...]


Long = Annotated[int, Word("long")]
Short = Annotated[int, Word("short")]
Moment = Annotated[float, Word("date")]  # a date parameter, as seconds since 1970
Date = Annotated[str, Word("date")]  # a date in an answer, as clock.stamp writes it
Map = Annotated[tuple[dict[str, str], ...], Word("map")]  # one dict an index, in order

_WORDS: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "float"}


class Field(msgspec.Struct, frozen=True):
    """One parameter or field, read off its declaration."""

    attribute: str
    name: str  # on the wire
    kind: Any  # Python's type, without Annotated and None
    item: Any  # of a tuple: its elements' type; else None
    word: str
    about: About
    required: bool
    column: str = ""  # of a By
    free: str = ""  # why it names no row, of a Free
    unscoped: str = ""  # why any row may be named, of an Unscoped
    entries: tuple[tuple[str, Any], ...] = ()  # of an Entries


def wire_name(name: str) -> str:
    """Name a field as CloudStack does: serviceofferingid where we write service_offering_id."""
    return name.replace("_", "")


@cache
def fields_of(kind: type[msgspec.Struct]) -> tuple[Field, ...]:
    """Return every field of a request or an answer, in the order declared."""
    hints: dict[str, Any] = {}
    for part in reversed(kind.__mro__):  # not get_type_hints: a field may be called `type`
        if issubclass(part, msgspec.Struct):
            hints |= inspect.get_annotations(part, locals={}, eval_str=True)
    names, wires = kind.__struct_fields__, kind.__struct_encode_fields__
    first_default = len(names) - len(kind.__struct_defaults__)
    defaults = (msgspec.NODEFAULT,) * first_default + kind.__struct_defaults__
    return tuple(
        _field(name, wire, default is msgspec.NODEFAULT, hints[name])
        for name, wire, default in zip(names, wires, defaults, strict=True)
    )


def shaped(kind: Any) -> type[Struct] | None:
    """Return the struct that is nested in a field of that type, if one is."""
    return kind if isinstance(kind, type) and issubclass(kind, Struct) else None


def _field(name: str, wire: str, required: bool, hint: Any) -> Field:
    plain, marks = _bare(hint)
    given: dict[Any, Any] = {type(mark): mark for mark in reversed(marks)}  # the outermost wins
    item = get_args(plain)[0] if get_origin(plain) is tuple else None
    return Field(
        attribute=name,
        name=wire,
        kind=plain,
        item=_bare(item)[0] if item is not None else None,
        word=given[Word].text if Word in given else _word(plain),
        about=given.get(About) or About(""),
        required=required,
        column=given[By].column if By in given else "",
        free=given[Free].why if Free in given else "",
        unscoped=given[Unscoped].why if Unscoped in given else "",
        entries=given[Entries].ids if Entries in given else (),
    )


def _bare(hint: Any) -> tuple[Any, list[Any]]:
    """Return the type under Annotated and `| None`, and the marks around it, outermost first."""
    marks: list[Any] = []
    while True:
        if get_origin(hint) is Annotated:
            hint, *inner = get_args(hint)
            marks.extend(reversed(inner))
        elif get_origin(hint) in (Union, UnionType):
            hint = next(arm for arm in get_args(hint) if arm is not NoneType)
        else:
            return hint, marks


def _word(plain: Any) -> str:
    if get_origin(plain) is tuple:
        return "list"
    if get_origin(plain) is dict:
        return "map"
    if hasattr(plain, "__supertype__"):
        return "uuid"
    if (nested := shaped(plain)) is not None:
        return nested.__name__.lower()
    return _WORDS.get(plain, "string")
