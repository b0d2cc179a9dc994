"""Checksums as registerTemplate takes them: "{SHA-256}hex", or bare hex whose length tells."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from csnode.faults import Refused
from csnode.types import Struct

_DIGITS = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}
_FORM = re.compile(r"(?:\{([A-Za-z0-9-]+)\})?([0-9a-fA-F]+)")


class Digest(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Checksum(Struct):
    """An algorithm and the value expected of it, in lower case."""

    algorithm: str
    value: str

    def begin(self) -> Digest:
        """A running digest of the algorithm."""
        name = self.algorithm.replace("-", "").lower()
        return hashlib.new(name, usedforsecurity=False)


def parse_checksum(text: str) -> Checksum | None:
    """What a checksum says; None for an empty one. Raises Refused, naming the forms."""
    if not text.strip():
        return None
    found = _FORM.fullmatch(text.strip())
    if found:
        value = found[2].lower()
        by_length = next((name for name, n in _DIGITS.items() if n == len(value)), "")
        named = (found[1] or by_length).upper()
        if named and _DIGITS.get(named) == len(value):
            return Checksum(algorithm=named, value=value)
    raise Refused(
        f"the checksum {text[:140]!r} is none: give {{SHA-256}} and 64 hex digits, or bare hex"
        f" digits; known are {', '.join(_DIGITS)}"
    )
