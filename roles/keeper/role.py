"""The keeper role: bears witness whether other hosts can be reached from this one.

Serves Keeper at each of its hosts. Writes nothing. Owns nothing. It is to be a process of its own,
so that it lives while compute does not: then a host whose csnode died is not taken for dead.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from csnode.contracts.keeper import Keeper
from csnode.drivers.driver import Seat
from csnode.drivers.prober import Prober
from csnode.faults import Invalid
from csnode.plugins import driver_type
from csnode.role import Opened, Role
from roles.keeper.config import KeeperConfig

ADDRESSES_MAX = 64  # asked about in one call


class HostKeeper(Keeper):
    """The keeper of one host."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if len(addresses) > ADDRESSES_MAX:
            raise Invalid(f"{len(addresses)} addresses in one call; at most {ADDRESSES_MAX}")
        return await self._prober.reach(addresses)


class KeeperRole(Role[KeeperConfig]):
    """It needs no data service: it is there when little else is."""

    name = "keeper"
    needs_data = False

    async def opened(self) -> Opened:
        kind: type[Prober] = driver_type(Prober, self.config.driver)
        async with AsyncExitStack() as stack:
            for id, name in self.node.hosts(self.config.hosts):
                seat = Seat(id=id, name=name, address="", folder="")
                keeper = HostKeeper(
                    await stack.enter_async_context(kind(self.config.options, seat))
                )
                self.bus.serve(keeper, at=(id,))
                stack.callback(self.bus.retire, keeper)
            yield
