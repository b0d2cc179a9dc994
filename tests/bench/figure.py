"""A figure: what was measured, what we aim at, and how fast this machine was at that moment.

CPU seconds drift by a factor of two on shared machines, so a fixed loop is timed right after each
measurement: figures of two runs compare as well as their loops do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from csnode.types import Struct

_LOOP = 200_000
HEADS = ("figure", "measured", "aim", "met", "beside", "loop ms", "in loops")
MS = {"ms": 1.0, "s": 1000.0}


class Figure(Struct):
    """One line of the table."""

    name: str
    value: float | None  # None: could not be measured; `beside` says why
    unit: str = ""
    aim: float | None = None
    best: Literal["low", "high"] = "low"
    beside: str = ""  # the reference, and the ratio to it
    loop_ms: float = 0.0

    @property
    def met(self) -> str:
        if self.value is None or self.aim is None:
            return ""
        good = self.value <= self.aim if self.best == "low" else self.value >= self.aim
        return "yes" if good else "NO"

    @property
    def loops(self) -> float | None:
        """The time it took, or that one of them took, as a multiple of the loop beside it.

        It is the reference of every figure that is a time: two machines compare by it.
        """
        if not self.value or not self.loop_ms:
            return None
        if self.unit in MS:
            return self.value * MS[self.unit] / self.loop_ms
        return 1000 / self.value / self.loop_ms if self.unit == "/s" else None

    @property
    def cells(self) -> tuple[str, ...]:
        sign = "<=" if self.best == "low" else ">="
        return (
            self.name,
            "not measured" if self.value is None else f"{rounded(self.value)} {self.unit}".strip(),
            "" if self.aim is None else f"{sign} {rounded(self.aim)} {self.unit}".strip(),
            self.met,
            self.beside,
            f"{self.loop_ms:.1f}" if self.loop_ms else "",
            "" if self.loops is None else rounded(self.loops),
        )


def measured(
    name: str,
    value: float,
    unit: str,
    aim: float | None = None,
    *,
    best: Literal["low", "high"] = "low",
    beside: str = "",
) -> Figure:
    """A figure just measured, with the loop timed beside it."""
    return Figure(
        name=name, value=value, unit=unit, aim=aim, best=best, beside=beside, loop_ms=loop_ms()
    )


def loop_ms() -> float:
    """CPU milliseconds of a fixed piece of Python, the median of five."""
    times = sorted(_one_loop() for _ in range(5))
    return times[2]


def _one_loop() -> float:
    began = time.process_time()
    held: dict[int, int] = {}
    for n in range(_LOOP):
        held[n & 1023] = held.get(n & 511, 0) + n
    return (time.process_time() - began) * 1000


def rounded(value: float) -> str:
    """Three digits that matter; thousands with a comma."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as text."""
    rows = [HEADS, *(figure.cells for figure in figures)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]
