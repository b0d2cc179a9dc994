"""Virtual time: a loop whose clock jumps to the next timer instead of waiting for it.

It relies on asyncio's private _run_once, _ready and _scheduled, here and nowhere else. What
runs on it may use no thread and no socket: whatever blocks sits behind a driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from csnode import clock

T = TypeVar("T")
TURNS_MAX = 300_000  # of the loop in one moment; a busy world takes some hundreds
EPOCH = 1_750_000_000.0  # what the wall clock shows when a virtual world begins


class SimLoop(asyncio.SelectorEventLoop):
    """An hour of sleep takes no time; a wait or work that nothing can end is an error."""

    _now = 0.0
    _turns = 0  # since time last moved

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            if not self._scheduled:  # type: ignore[attr-defined]
                raise RuntimeError("deadlock: nothing is left to happen")
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
            self._turns = 0
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise RuntimeError("livelock: things go on happening, and time stands still")
        super()._run_once()  # type: ignore[misc]


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run the work to its end in virtual time; dates come from the same clock."""
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        loop = runner.get_loop()
        before, clock.wall_source = clock.wall_source, lambda: EPOCH + loop.time()
        try:
            return runner.run(work)
        finally:
            clock.wall_source = before
