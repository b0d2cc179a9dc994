"""Rows as text and as entities."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from csnode.faults import Broken
from csnode.model.entity import Entity

E = TypeVar("E", bound=Entity)
_encoder = msgspec.json.Encoder()


@cache
def decoder(kind: type[E]) -> msgspec.json.Decoder[E]:
    """Return the decoder of a kind, made once for each."""
    return msgspec.json.Decoder(kind)


def encoded(value: Any) -> bytes:
    """Encode a row or some of its columns, as JSON."""
    return _encoder.encode(value)


def decoded(kind: type[E], row: bytes) -> E:
    """Decode a row. Raises Broken if it is not of that kind: data and roles differ in version."""
    try:
        return cast("E", decoder(kind).decode(row))
    except msgspec.ValidationError as error:
        raise Broken(f"a {kind.kind} row cannot be read", detail=str(error)) from error
