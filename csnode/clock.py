"""The only file that reads the time.

Two clocks: `now` measures (it never goes back and means nothing on another node), `wall` dates
things. What it says decides too (a session that ends, a machine to start again), so it follows the
data service, whose time never goes back: a machine that lost power may come up hours behind. In
the virtual world both come from the loop, so an hour passes in no time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

wall_source: Callable[[], float] = time.time  # the virtual world puts its own clock here


class Bearings:
    """What a process has learnt of its cloud's time."""

    def __init__(self) -> None:
        self.off_s = 0.0  # from its own wall clock to the cloud's time
        self.era = 0  # of the cloud's numbers: see csnode.context.era_of


_bearings: ContextVar[Bearings] = ContextVar("bearings", default=Bearings())  # noqa: B039


def bearings() -> Bearings:
    """Return the bearings of the process that the running code belongs to."""
    return _bearings.get()


def take_bearings(own: Bearings) -> None:
    """Give these bearings to all that starts from here on."""
    _bearings.set(own)


def now() -> float:
    """Return seconds on this loop's clock; never compared across nodes."""
    return asyncio.get_running_loop().time()


def wall() -> float:
    """Return seconds since 1970, UTC, by the cloud's time; for dates that people and nodes read."""
    return wall_source() + _bearings.get().off_s


def own_wall() -> float:
    """Return the time by this machine's clock alone: to be compared before a cloud is known."""
    return wall_source()


def stamp(seconds: float) -> str:
    """Return a date as CloudStack writes it: 2021-10-04T09:24:38+0000."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
