"""The network role: builds guest networks and their routers on the host it is on.

Serves Networking. Writes no facts. Owns the host's guest bridges, routers and their files.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from csnode.bus.bus import Bus
from csnode.config import NodeConfig
from csnode.data.store import Store
from csnode.drivers.network import NetworkDriver
from csnode.plugins import driver_type
from csnode.role import Opened, Role, every
from roles.network.config import NetworkConfig, seats
from roles.network.host import HostNetwork


class NetworkRole(Role[NetworkConfig]):
    """One per host; with a sim driver, one for many hosts."""

    name = "network"

    def __init__(self, config: NetworkConfig, node: NodeConfig, bus: Bus, store: Store) -> None:
        super().__init__(config, node, bus, store)
        self._hosts: list[HostNetwork] = []

    async def opened(self) -> Opened:
        kind: type[NetworkDriver] = driver_type(NetworkDriver, self.config.driver)
        async with AsyncExitStack() as stack:
            for seat in seats(self.config, self.node):
                driver = await stack.enter_async_context(kind(self.config.options, seat))
                host = HostNetwork(driver)
                self.bus.serve(host, at=(seat.id,))
                stack.callback(self.bus.retire, host)
                self._hosts.append(host)
            yield
            self._hosts.clear()

    @every(seconds=30)
    async def repair(self) -> None:
        """A router may break without telling anyone, so look now and then."""
        for host in tuple(self._hosts):
            await host.repair()
