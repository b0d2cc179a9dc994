"""The storage role: images and volumes of the pools that this node reaches.

Serves Storage, at each pool. Writes the fact template.percent. Owns what the pools hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from csnode.drivers.driver import Seat
from csnode.drivers.storage import StorageDriver
from csnode.plugins import driver_type
from csnode.role import Opened, Role
from roles.storage.config import StorageConfig, seats
from roles.storage.pool import PoolStorage
from roles.storage.sweep import PoolSweep, sweep


class StorageRole(Role[StorageConfig]):
    """Wherever a pool is reachable."""

    name = "storage"

    async def opened(self) -> Opened:
        self._sweeps: list[PoolSweep] = []
        make = _maker(self.config.driver)
        async with AsyncExitStack() as open:
            for seat in seats(self.config, self.node):
                entered = await open.enter_async_context(make(self.config.options, seat))
                pool = PoolStorage(entered, self.store)
                open.push_async_callback(pool.close)
                self.bus.serve(pool, at=(seat.id,))
                open.callback(self.bus.retire, pool)
                self._sweeps.append(PoolSweep(pool, self.store, self.config.ghost_seconds))
            yield
            self._sweeps.clear()

    def loops(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        sweep_s = self.config.sweep_seconds
        return [*super().loops(), *([(sweep_s, self.sweep)] if sweep_s else [])]

    async def sweep(self) -> None:
        """Look for what nobody knows: it takes room, and may be a disk still written to."""
        await sweep(tuple(self._sweeps), self.store)

    def troubles(self) -> Sequence[str]:
        return [trouble for each in self._sweeps for trouble in each.troubles]


def _maker(name: str) -> Callable[[Mapping[str, Any], Seat], StorageDriver]:
    return driver_type(StorageDriver, name)
