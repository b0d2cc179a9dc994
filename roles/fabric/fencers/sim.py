"""The simulated fencer: a power switch in memory, with the moods it is told to have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from csnode.drivers.driver import Simulated
from csnode.drivers.fencer import OFF, ON, Fencer
from csnode.faults import Unavailable


async def _nothing() -> None:
    """Tell nobody."""


class SimSwitch:
    """The power of one simulated host. A virtual world says what switching it does."""

    def __init__(self) -> None:
        self.on = True
        self.answers = True  # a management board may be cut off with its host
        self.seconds = 0.2  # that switching takes
        self.cut: Callable[[], Awaitable[None]] = _nothing
        self.restored: Callable[[], Awaitable[None]] = _nothing

    async def turn(self, on: bool) -> None:
        """Turn the switch; it does so whether or not the asker lives to hear of it."""
        task = asyncio.create_task(self._turn(on), context=Context())
        await asyncio.shield(task)

    async def _turn(self, on: bool) -> None:
        await asyncio.sleep(self.seconds)
        if on != self.on:
            self.on = on
            await (self.restored if on else self.cut)()


_switches: dict[str, SimSwitch] = {}


def outside(host: str) -> SimSwitch:
    """Return the switch of the host of that id."""
    return _switches.setdefault(host, SimSwitch())


class SimFencer(Fencer, Simulated):
    """Turns the switch of the host whose seat it has."""

    @classmethod
    def forget_outside(cls) -> None:
        _switches.clear()

    async def fence(self) -> str:
        await self._switch().turn(False)
        return f"the simulated switch of {self.seat.name} is off"

    async def power(self) -> str:
        return ON if self._switch().on else OFF

    async def restore(self) -> None:
        await self._switch().turn(True)

    def _switch(self) -> SimSwitch:
        switch = outside(self.seat.id)
        if not switch.answers:
            raise Unavailable(f"the switch of {self.seat.name} does not answer")
        return switch
