"""Mistakes that make no difference to anybody: found as survivors, looked at, and said why."""

from __future__ import annotations

from typing import NamedTuple


class Equivalent(NamedTuple):
    """A line before and after the mistake, without indent, wherever it stands in the file."""

    path: str
    before: str
    after: str
    why: str


VIEW = "csnode/data/view.py"
EQUIVALENT: tuple[Equivalent, ...] = (
    Equivalent(VIEW, "await self._hear_out(heads)", "pass",
               "events that are due are not waited for: the feed says the same, and is asked"),
    Equivalent(VIEW, "if self._deaf:", "if (not (self._deaf)):",
               "whether events are waited for costs time and changes nothing that is seen"),
)  # fmt: skip
KNOWN: set[tuple[str, str, str]] = {each[:3] for each in EQUIVALENT}
