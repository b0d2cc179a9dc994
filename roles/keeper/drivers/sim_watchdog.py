"""Simulated watchdogs: hardware that resets a simulated machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import TracebackType
from typing import Annotated, ClassVar, Self

from msgspec import Meta

from csnode.drivers.driver import Simulated
from csnode.drivers.watchdog import Watchdog
from csnode.types import Struct


async def _nothing() -> None:
    """Tell nobody."""


class SimDog:
    """A watchdog's hardware: counts by itself, and resets its machine once it has waited long."""

    def __init__(self) -> None:
        self.bites: Callable[[], Awaitable[None]] = _nothing
        self._counting: asyncio.Task[None] | None = None

    def wait_for(self, seconds: float) -> None:
        """Count anew: a sign of life was heard."""
        self.rest()
        self._counting = asyncio.get_running_loop().create_task(
            self._count(seconds), context=Context()
        )

    def rest(self) -> None:
        """Stop counting: it is disarmed, or without power."""
        if self._counting is not None and not self._counting.done():
            self._counting.cancel()
        self._counting = None

    async def _count(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._counting = None
        await self.bites()


_dogs: dict[str, SimDog] = {}


def outside(host: str) -> SimDog:
    """Return the watchdog of the host of that id."""
    return _dogs.setdefault(host, SimDog())


class DogOptions(Struct, forbid_unknown_fields=True):
    """As a device's."""

    seconds: Annotated[float, Meta(ge=1)] = 10.0


class SimWatchdog(Watchdog, Simulated):
    """A keeper that dies leaves it armed, as a device would be left."""

    options_type: ClassVar[type[Struct]] = DogOptions
    options: DogOptions

    @classmethod
    def forget_outside(cls) -> None:
        _dogs.clear()

    async def __aenter__(self) -> Self:
        self.seconds = self.options.seconds
        self.pet()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            outside(self.seat.id).rest()

    def pet(self) -> None:
        outside(self.seat.id).wait_for(self.seconds)
