"""A row of any kind, made from its declaration."""

from __future__ import annotations

from typing import Any, get_origin, get_type_hints

import msgspec

from csnode.model.entity import Entity


def specimen(kind: type[Entity], id: str, **columns: Any) -> Entity:
    """A row of the kind, with these columns, and whatever others without default need."""
    hints = get_type_hints(kind)
    given = dict(columns)
    for field in msgspec.structs.fields(kind):
        if field.name == "id" or not field.required or field.name in given:
            continue
        hint = getattr(hints[field.name], "__supertype__", hints[field.name])
        given[field.name] = {str: f"{field.name} of {id}", int: 1, float: 1.0, bool: True}.get(
            hint
        ) or get_origin(hint)()
    return kind(id=id, **given)
