"""Mistakes that make no difference to anybody: found as survivors, looked at, and said why."""

from __future__ import annotations

from typing import NamedTuple


class Equivalent(NamedTuple):
    """A line before and after the mistake, without indent, wherever it stands in the file."""

    path: str
    before: str
    after: str
    why: str


EQUIVALENT: tuple[Equivalent, ...] = ()
KNOWN: set[tuple[str, str, str]] = {each[:3] for each in EQUIVALENT}
