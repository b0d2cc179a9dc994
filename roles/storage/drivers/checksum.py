"""Checksums as registerTemplate takes them (csnode.model.rules), reckoned over an image's bytes."""

from __future__ import annotations

import hashlib
from typing import Protocol

from csnode.faults import Invalid, Refused
from csnode.model import rules
from csnode.model.rules import Checksum


class Digest(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def begin(checksum: Checksum) -> Digest:
    """Begin a running digest of the checksum's algorithm."""
    name = checksum.algorithm.replace("-", "").lower()
    return hashlib.new(name, usedforsecurity=False)


def parse_checksum(text: str) -> Checksum | None:
    """Read a checksum; None for an empty one. Raises Refused, naming the forms."""
    try:
        return rules.checksum(text)
    except Invalid as invalid:
        raise Refused(invalid.message) from invalid
