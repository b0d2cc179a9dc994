"""How long to wait for a fact on this machine, as busy as it is now.

A limit in seconds says how long something takes on a machine at rest. Beside other work the same
takes longer, and a test that gives up then has found nothing. So limits grow with a measured loop.
"""

from __future__ import annotations

import os
import time

LOOP = 20_000  # rounds: about a millisecond of CPU
AGAIN_S = 2.0  # how long a measurement is believed
MOST = 20.0


class Gauge:
    """Measures how busy the machine is, at most every two seconds."""

    def __init__(self) -> None:
        self._when, self._factor = -AGAIN_S, 1.0

    def read(self) -> float:
        """Measure how many times longer than alone CPU-bound work takes now, from 1 to 20."""
        if time.monotonic() - self._when >= AGAIN_S:
            queue = os.getloadavg()[0] / (os.cpu_count() or 1)
            self._factor = min(MOST, max(1.0, _loop(), queue))
            self._when = time.monotonic()
        return self._factor


slowness = Gauge().read


def _loop() -> float:
    """Measure the time that passes in a loop against the CPU time that it gets."""
    began, used = time.monotonic(), time.thread_time()
    for _ in range(LOOP):
        pass
    cpu = time.thread_time() - used
    return (time.monotonic() - began) / cpu if cpu else 1.0


def patient(seconds: float) -> float:
    """Return a limit for here and now, from one for a machine at rest."""
    return seconds * slowness()


class Patience:
    """A limit in seconds of a machine at rest; asked while one waits, it grows as the load does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began = self._asked = time.monotonic()
        self._used = 0.0  # of the limit, in seconds of a machine at rest

    @property
    def over(self) -> bool:
        """Whether it is time to give up."""
        moment = time.monotonic()
        self._used += (moment - self._asked) / slowness()
        self._asked = moment
        return self._used > self.seconds

    def __str__(self) -> str:
        waited = time.monotonic() - self._began
        return f"{self.seconds:g} s of a machine at rest ({waited:.1f} s here)"
