"""Every column that names another row says so, and how (csnode.model.entity.Ref and Was)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NewType, get_args, get_type_hints

import pytest

from csnode import types
from csnode.model.entity import Entity, Ref, Was
from csnode.model.owner import Operators
from csnode.plugins import entity_kinds
from csnode.verify.references import TOLD, TOLD_APART
from csnode.verify.rows import KINDS

ROWS = {
    kind: name
    for name, kind in vars(types).items()
    if isinstance(kind, NewType) and name.endswith("Id") and name != "NodeId"
}
"""The types of ids of rows. A NodeId is a process's."""
OURS = [t for t in entity_kinds().values() if t.__module__.startswith("csnode.")]


def parts_of(hint: Any) -> Iterator[Any]:
    """What a type is made of, its marks included."""
    yield hint
    for part in get_args(hint):
        yield from parts_of(part)


def names_a_row(column: str, parts: list[Any]) -> bool:
    """By its type, or by being called as a kind of row is (or ID of one)."""
    by_type = any(part in ROWS for part in parts if isinstance(part, NewType))
    return by_type or (str in parts and column.removesuffix("_id") in {*entity_kinds(), "object"})


def undeclared(kind: type[Entity]) -> list[str]:
    """Columns that name a row and do not say so."""
    found: list[str] = []
    for column, hint in get_type_hints(kind, include_extras=True).items():
        parts = list(parts_of(hint))
        marked = any(isinstance(part, Ref | Was) for part in parts)
        if column in kind.__struct_fields__ and names_a_row(column, parts) and not marked:
            found.append(column)
    return found


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
def test_every_column_that_names_a_row_declares_it(kind: type[Entity]) -> None:
    assert undeclared(kind) == []


def test_a_column_that_does_not_declare_it_is_found() -> None:
    class Forgetful(Entity):
        kind = "forgetful"
        owned_by = Operators()
        host: types.HostId | None = None
        others: tuple[types.VmId, ...] = ()
        template_id: str = ""
        owner: types.NodeId | None = None

    assert undeclared(Forgetful) == ["host", "others", "template_id"]


def test_references_are_to_kinds_that_there_are() -> None:
    known = {*entity_kinds(), ""}
    marks = [
        part.to
        for kind in OURS
        for hint in get_type_hints(kind, include_extras=True).values()
        for part in parts_of(hint)
        if isinstance(part, Ref | Was)
    ]
    assert set(marks) <= known
    assert len(marks) > 60


def test_verify_looks_at_every_reference() -> None:
    declared = {(k.kind, c) for k in OURS for c, ref in k.refs().items() if ref.pins}
    assert {(kind.kind, column) for kind, column, _ in TOLD} | TOLD_APART >= declared
    assert {k.kind for k in KINDS} >= {kind for kind, _ in declared}
