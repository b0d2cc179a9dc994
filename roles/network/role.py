"""The network role: builds guest networks and their routers on the host it is on.

Serves Networking. Writes no facts. Owns the host's guest bridges, routers and their files.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from csnode.bus.event import Changed
from csnode.drivers.network import NetworkDriver
from csnode.plugins import driver_type
from csnode.role import Opened, Role, every, on
from roles.network.config import NetworkConfig, seats
from roles.network.host import HostNetwork
from roles.network.peers import Peers
from roles.network.sweep import HostSweep, sweep


class NetworkRole(Role[NetworkConfig]):
    """One per host; with a sim driver, one for many hosts."""

    name = "network"

    async def opened(self) -> Opened:
        self._sweeps: list[HostSweep] = []
        self._peers = Peers(self.store)
        kind: type[NetworkDriver] = driver_type(NetworkDriver, self.config.driver)
        async with AsyncExitStack() as stack:
            for seat in seats(self.config, self.node):
                driver = await stack.enter_async_context(kind(self.config.options, seat))
                host = HostNetwork(driver)
                self._sweeps.append(HostSweep(host, self.store, self.config.ghost_seconds))
            await self._tell_peers()  # before anybody asks for a network
            for each in self._sweeps:
                self.bus.serve(each.host, at=(each.id,))
                stack.callback(self.bus.retire, each.host)
            yield
            self._sweeps.clear()

    def loops(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        sweep_s = self.config.sweep_seconds
        return [*super().loops(), *([(sweep_s, self.sweep)] if sweep_s else [])]

    async def sweep(self) -> None:
        """Look at the routers: one may break without telling, or outlive its network's row."""
        await self._tell_peers()
        await sweep(tuple(self._sweeps), self.store)

    @on(Changed, "host")
    async def hear(self, changed: Changed) -> None:
        """Hear of hosts: one that was enrolled has guests soon."""
        await self._tell_peers(changed)

    @every(seconds=1)
    async def look(self) -> None:
        """Look who is there: machines that only run guests hear no events, but they see that."""
        if self._peers.awaited(self.bus.directory.members()):
            await self._tell_peers()

    async def _tell_peers(self, news: Changed | None = None) -> None:
        await self._peers.tell([each.host for each in self._sweeps], news)

    def troubles(self) -> Sequence[str]:
        return [trouble for each in self._sweeps for trouble in each.troubles]

    def warnings(self) -> Sequence[str]:
        return [each.blocked for each in self._sweeps if each.blocked]
