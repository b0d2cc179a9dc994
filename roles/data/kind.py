"""What the data service knows of one kind of row: its shape, its writers, its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Table

from csnode.data.rows import decoder, encoded
from csnode.faults import Denied, Invalid
from csnode.model.entity import Entity, Ref
from roles.data.schema import Statements, plain

Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(Fields)

HOST_SIDE = frozenset({"compute", "network", "storage", "monitor"})
"""Roles that observe and never intend: they write their own facts and nothing else."""


def fields_of(text: bytes, what: str) -> Fields:
    """Return a JSON object's members, each still as text."""
    try:
        return _fields.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{what}: {error}") from error


class Kind:
    """One kind. Rows stay JSON; they are decoded only to check their shape."""

    def __init__(
        self,
        type: type[Entity],
        table: Table,
        statements: Callable[[Table], Statements] = Statements,
    ) -> None:
        self.name = type.kind
        self.type = type
        self.keys = tuple(type.keys())
        self.unique = tuple(name for name, key in type.keys().items() if key.unique)
        self.refs = type.refs()
        self.leaves = type.leaves()
        self.leaves_used = self.leaves is not None and self.leaves[1].used
        self.writers = type.writers()
        self.columns = frozenset(type.__struct_fields__) - {"id", "revision"}
        self.defaults = _defaults(type)
        self._table, self._statements = table, statements
        self._decode = decoder(type).decode
        self._writable: dict[str, frozenset[str]] = {}

    @cached_property
    def sql(self) -> Statements:
        """Its statements, made when first needed."""
        return self._statements(self._table)

    def parse(self, id: str, row: bytes) -> Entity:
        """Parse a row. Raises Invalid, with the place, if it is misshapen."""
        try:
            return self._decode(row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{self.name} {id}: {error}") from error

    def is_leaving(self, row: Entity) -> bool:
        """Tell whether the row is on its way out: nothing new may refer to it."""
        return self.leaves is not None and getattr(row, self.leaves[0]) == self.leaves[1].when

    def key_values(self, row: Entity) -> tuple[Any, ...]:
        """Return the row's Keys, in the order of their columns."""
        return tuple(plain(getattr(row, name)) for name in self.keys)

    def check_writable(self, columns: Fields, by: str) -> None:
        """Raise Invalid for a column there is not, Denied for one that is another's to write."""
        writable = self._writable.get(by)
        if writable is None:
            own = frozenset(c for c, writer in self.writers.items() if writer == by)
            observes = by in HOST_SIDE and by not in self.type.told_by
            intents = frozenset[str]() if observes else self.columns - self.writers.keys()
            writable = own | intents
            if len(self._writable) < 32:  # `by` comes from outside
                self._writable[by] = writable
        if columns.keys() <= writable:
            return
        self.check_known(columns)
        column = min(columns.keys() - writable)
        writer = self.writers.get(column)
        whose = f"a fact that only {writer} may write" if writer else "an intent"
        raise Denied(f"{by or 'nobody'} may not write {self.name}.{column}: it is {whose}")

    def check_known(self, columns: Fields) -> None:
        """Raise Invalid for a column there is not."""
        if unknown := columns.keys() - self.columns:
            raise Invalid(f"{self.name} has no column {min(unknown)!r} that could be written")


class Pin(NamedTuple):
    """A column that keeps the rows it names from going (csnode.model.entity.Ref)."""

    kind: Kind
    column: str

    @property
    def ref(self) -> Ref:
        """How it names them."""
        return self.kind.refs[self.column]


Pins = Mapping[str, tuple[Pin, ...]]
"""What may keep rows of a kind, by the kind's name."""


def pins_of(kinds: Mapping[str, Kind]) -> Pins:
    """Return what may keep rows of each kind; columns that are found by an index come first."""
    pins: dict[str, list[Pin]] = {name: [] for name in kinds}
    for kind in kinds.values():
        for column, ref in kind.refs.items():
            if ref.pins:
                pins.setdefault(ref.to, []).append(Pin(kind, column))
    return {
        name: tuple(sorted(held, key=lambda pin: pin.column not in pin.kind.keys))
        for name, held in pins.items()
    }


def _defaults(type: type[Entity]) -> Fields:
    defaults: Fields = {}
    for field in msgspec.structs.fields(type):
        if field.default is not msgspec.NODEFAULT:
            defaults[field.name] = msgspec.Raw(encoded(field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            defaults[field.name] = msgspec.Raw(encoded(field.default_factory()))
    return defaults
