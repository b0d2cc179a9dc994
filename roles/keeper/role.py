"""The keeper role: bears witness whether other hosts can be reached from this one, and keeps its
leases in the pools that several hosts share.

Serves Keeper at each of its hosts. Writes nothing. Owns the leases. It is to be a process of its
own, so that it lives while compute does not: then a host whose csnode died is not taken for dead,
and its guests run on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from csnode.contracts.keeper import Keeper, Standing
from csnode.drivers.driver import Seat
from csnode.drivers.prober import Prober
from csnode.faults import Invalid, NotFound
from csnode.plugins import driver_type
from csnode.role import Opened, Role
from csnode.types import HostId, PoolId
from roles.keeper.config import KeeperConfig
from roles.keeper.leases import HostLeases, keeping

ADDRESSES_MAX = 64  # asked about in one call


class HostKeeper(Keeper):
    """The keeper of one host."""

    def __init__(self, prober: Prober, leases: HostLeases | None) -> None:
        self._prober, self._leases = prober, leases

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if len(addresses) > ADDRESSES_MAX:
            raise Invalid(f"{len(addresses)} addresses in one call; at most {ADDRESSES_MAX}")
        return await self._prober.reach(addresses)

    async def standing(self, host: HostId, pool: PoolId) -> Standing:
        if self._leases is None:
            raise NotFound("this keeper keeps no leases: [keeper] pools names none")
        return await self._leases.standing(host, pool)


class KeeperRole(Role[KeeperConfig]):
    """It needs no data service: it is there when little else is."""

    name = "keeper"
    needs_data = False
    leases: Sequence[HostLeases] = ()

    async def opened(self) -> Opened:
        async with AsyncExitStack() as stack:
            for id, name in self.node.hosts(self.config.hosts):
                keeper = await stack.enter_async_context(self._kept(id, name))
                self.bus.serve(keeper, at=(id,))
                stack.callback(self.bus.retire, keeper)
            yield

    @asynccontextmanager
    async def _kept(self, id: HostId, name: str) -> AsyncGenerator[HostKeeper]:
        kind: type[Prober] = driver_type(Prober, self.config.driver)
        seat = Seat(id=id, name=name, address="", folder=f"{self.node.state}/keeper/{name}")
        async with kind(self.config.options, seat) as prober:
            if not self.config.pools:
                yield HostKeeper(prober, None)
                return
            async with keeping(self.config, self.node, self.bus, seat) as leases:
                self.leases = (*self.leases, leases)
                yield HostKeeper(prober, leases)

    def troubles(self) -> Sequence[str]:
        return [trouble for leases in self.leases for trouble in leases.troubles]
