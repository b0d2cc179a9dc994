"""The only file that reads the time.

Two clocks: `now` measures (it never goes back and means nothing on another node), `wall` dates
things for people. In the virtual world both come from the loop, so an hour passes in no time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

wall_source: Callable[[], float] = time.time  # the virtual world puts its own clock here


def now() -> float:
    """Seconds on this loop's clock; never compared across nodes."""
    return asyncio.get_running_loop().time()


def wall() -> float:
    """Seconds since 1970, UTC; for dates that people and other nodes read."""
    return wall_source()


def stamp(seconds: float) -> str:
    """A date as CloudStack writes it: 2021-10-04T09:24:38+0000."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
