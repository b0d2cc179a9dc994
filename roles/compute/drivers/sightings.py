"""Power changes, handed from where a driver hears of them to whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

from csnode.drivers.hypervisor import Sighting
from csnode.types import Power, VmId


class Sightings:
    """Each watcher gets every sighting told since it asked, in order, until the end.

    A watcher that nobody holds any more is forgotten.
    """

    def __init__(self) -> None:
        self._queues: WeakKeyDictionary[asyncio.Queue[Sighting | None], None] = WeakKeyDictionary()

    def tell(self, sighting: Sighting) -> None:
        """Hand it to all who watch now."""
        for queue in self._queues:
            queue.put_nowait(sighting)

    def end(self) -> None:
        """End: there is nothing more to see."""
        for queue in self._queues:
            queue.put_nowait(None)

    def watch(self) -> AsyncIterator[Sighting]:
        """Yield sightings from this moment on, even if the first is asked for later."""
        queue: asyncio.Queue[Sighting | None] = asyncio.Queue()
        self._queues[queue] = None
        return _follow(queue)


async def _follow(queue: asyncio.Queue[Sighting | None]) -> AsyncIterator[Sighting]:
    while (sighting := await queue.get()) is not None:
        yield sighting


async def until_off(seen: AsyncIterator[Sighting], vm: VmId) -> None:
    """Wait until the machine is seen to be on no more, or there is nothing more to see."""
    async for sighting in seen:
        if sighting.vm == vm and sighting.power is not Power.ON:
            return
