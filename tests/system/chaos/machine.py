"""How fast the machine was while the run's figures were taken: without that they say little.

A fixed piece of work is done again and again. The CPU time it takes is the machine's speed; how
much longer it takes by the clock is how busy others kept the machine, the cloud itself included.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from statistics import median

from csnode.types import Struct

EVERY_S = 1.0
ROUNDS = 60_000


class Pace(Struct):
    """What the machine was like."""

    cores: int
    load_before: float  # of others, before the run began
    load: float  # the median while it went on
    work_ms: float  # CPU time of the piece of work
    slower: float  # by how much the clock went beyond that, the median
    slowest: float

    def __str__(self) -> str:
        return (
            f"the machine: {self.cores} cores, load {self.load_before:.1f} before and"
            f" {self.load:.1f} meanwhile; a piece of work took {self.work_ms:.1f} ms of CPU, and by"
            f" the clock {self.slower:.1f} times that (at worst {self.slowest:.1f})"
        )


class Machine:
    """Measures until it is cancelled."""

    def __init__(self) -> None:
        self._before = os.getloadavg()[0]
        self._loads: list[float] = []
        self._pieces: list[tuple[float, float]] = [_piece()]

    async def measure(self) -> None:
        """One piece a second, in a thread: it is to wait for the machine as others do."""
        while True:
            self._pieces.append(await asyncio.to_thread(_piece))
            self._loads.append(os.getloadavg()[0])
            await asyncio.sleep(EVERY_S)

    def pace(self) -> Pace:
        """What was found."""
        ratios = [wall / cpu for wall, cpu in self._pieces]
        return Pace(
            cores=os.cpu_count() or 1,
            load_before=self._before,
            load=median(self._loads or [self._before]),
            work_ms=median(cpu for _, cpu in self._pieces) * 1000,
            slower=median(ratios),
            slowest=max(ratios),
        )


def _piece() -> tuple[float, float]:
    """Seconds by the clock, and of CPU."""
    wall, cpu = time.perf_counter(), time.thread_time()
    said = b""
    for _ in range(ROUNDS):
        said = hashlib.sha256(said).digest()
    return time.perf_counter() - wall, max(time.thread_time() - cpu, 1e-6)
