"""The network role: builds guest networks and their routers on the host it is on.

Serves Networking. Writes no facts. Owns the host's guest bridges, routers and their files.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from csnode.bus.bus import Bus
from csnode.config import NodeConfig
from csnode.data.store import Store
from csnode.drivers.network import NetworkDriver
from csnode.plugins import driver_type
from csnode.role import Opened, Role
from roles.network.config import NetworkConfig, seats
from roles.network.host import HostNetwork
from roles.network.sweep import HostSweep, sweep


class NetworkRole(Role[NetworkConfig]):
    """One per host; with a sim driver, one for many hosts."""

    name = "network"

    def __init__(self, config: NetworkConfig, node: NodeConfig, bus: Bus, store: Store) -> None:
        super().__init__(config, node, bus, store)
        self._sweeps: list[HostSweep] = []

    async def opened(self) -> Opened:
        kind: type[NetworkDriver] = driver_type(NetworkDriver, self.config.driver)
        async with AsyncExitStack() as stack:
            for seat in seats(self.config, self.node):
                driver = await stack.enter_async_context(kind(self.config.options, seat))
                host = HostNetwork(driver)
                self.bus.serve(host, at=(seat.id,))
                stack.callback(self.bus.retire, host)
                self._sweeps.append(HostSweep(host, self.store, self.config.ghost_seconds))
            yield
            self._sweeps.clear()

    def loops(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        sweep_s = self.config.sweep_seconds
        return [*super().loops(), *([(sweep_s, self.sweep)] if sweep_s else [])]

    async def sweep(self) -> None:
        """A router may break without telling anyone, or outlive its network's row."""
        await sweep(tuple(self._sweeps), self.store)

    def troubles(self) -> Sequence[str]:
        return [trouble for each in self._sweeps for trouble in each.troubles]
