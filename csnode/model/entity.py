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


@cache
def _marks(kind: type[Entity]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (column, mark)
        for column in kind.__struct_fields__
        if get_origin(hints[column]) is Annotated
        for mark in get_args(hints[column])[1:]
    )
