"""Probes: two cheap signed requests every 50 ms, one to each api; how long anybody had to wait."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left

import aiohttp

from tests.bench.client import signed
from tests.system.chaos.client import FORM, Endpoints
from tests.system.chaos.record import now

EVERY_S = 0.05
PATIENCE_S = 5.0


class Probe:
    """Asks until cancelled. A wait runs from a tick to the first answer to it or a later tick."""

    def __init__(self, endpoints: Endpoints, session: aiohttp.ClientSession) -> None:
        self._endpoints, self._session = endpoints, session
        self._sent: list[float] = []
        self._answered: list[float] = []  # for each tick; infinite if nobody answered
        self._asking: set[asyncio.Task[None]] = set()

    async def ask(self) -> None:
        """Tick after tick, whether or not the last was answered."""
        form = signed(command="listZones").encode()
        due = now()
        while True:
            tick = len(self._sent)
            self._sent.append(now())
            self._answered.append(float("inf"))
            for url in self._endpoints.values():
                task = asyncio.create_task(self._one(tick, url, form))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
            due = max(due + EVERY_S, now())
            await asyncio.sleep(due - now())

    async def _one(self, tick: int, url: str, form: bytes) -> None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                asyncio.timeout(PATIENCE_S),
                self._session.post(url, data=form, headers=FORM) as answer,
            ):
                await answer.read()
                if answer.status == 200:
                    self._answered[tick] = min(self._answered[tick], now())

    async def close(self) -> None:
        """Wait for the answers under way."""
        await asyncio.gather(*self._asking)

    def longest(self, since: float, until: float) -> float:
        """Seconds that somebody who began to ask in that time waited at most for an answer."""
        return longest_wait(self._sent, self._answered, since, until)


def longest_wait(sent: list[float], answered: list[float], since: float, until: float) -> float:
    """Of the ticks sent in [since, until): the longest time to any answer from there on."""
    first, last = bisect_left(sent, since), bisect_left(sent, until)
    worst, soonest = 0.0, float("inf")
    for tick in range(len(sent) - 1, first - 1, -1):
        soonest = min(soonest, answered[tick])
        if tick < last:
            worst = max(worst, soonest - sent[tick])
    return worst
