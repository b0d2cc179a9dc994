"""Networking at one host: one verb at a time per network, and none from a lost fence.

Many jobs may build one network's router side by side; only the latest may take it down, and
what was to build it before that may not any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from csnode.context import Fences
from csnode.contracts.networking import Networking
from csnode.drivers.network import NetworkDriver
from csnode.faults import Fault
from csnode.log import logger
from csnode.model.machine import FoundNetwork, GuestNetwork, GuestNic, Plug
from csnode.types import NetworkId, NicId
from roles.network.ability import Remembers

log = logger("network")


class HostNetwork(Networking):
    """Serves the contract with one driver."""

    def __init__(self, driver: NetworkDriver) -> None:
        self.driver = driver
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._fences = Fences()
        self._taken_down = Fences()  # of networks; below, nothing is built

    async def ensure_router(self, network: GuestNetwork) -> None:
        async with self.alone(network.network):
            self._taken_down.refuse(network.network)
            self._fences.note(network.network)
            await self.driver.ensure_router(network)

    async def ensure_no_router(self, network: NetworkId) -> None:
        async with self.alone(network):
            self._fences.check(network)
            self._taken_down.note(network)
            await self.driver.ensure_no_router(network)

    async def ensure_nic(self, nic: GuestNic) -> None:
        async with self.alone(nic.network):
            self._fences.check(nic.nic)
            await self.driver.ensure_nic(nic)

    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        async with self.alone(network):
            self._fences.check(nic)
            await self.driver.ensure_no_nic(network, nic)

    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        async with self.alone(network.network):
            self._fences.check(nic.nic)
            return await self.driver.ensure_plug(network, nic)

    async def outdate(self, id: NetworkId | NicId) -> None:
        """Outdate orders at once: what waits for its turn is refused when it comes.

        Building a router is not: others may be at it side by side.
        """
        self._fences.check(id)

    async def reach(self, peers: Sequence[str]) -> None:
        """Lead its networks to these hosts, by address, and to no other; not in the contract."""
        await self.driver.reach(peers)

    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        return await self.driver.survey()

    async def inspect(self) -> tuple[FoundNetwork, ...]:
        return await self.driver.inspect()

    async def repair(self) -> tuple[FoundNetwork, ...]:
        """Tell the driver again of every router that it was told of and that does not work.

        It needs no rows: routers are mended while the rest of the cloud is down. Answers what is
        on the host now.
        """
        found = await self.driver.inspect()
        return tuple([await self._mended(f) if f.told and f.trouble else f for f in found])

    async def _mended(self, found: FoundNetwork) -> FoundNetwork:
        async with self.alone(found.network):
            if not isinstance(self.driver, Remembers):
                return found
            told = self.driver.told().get(found.network)  # it may have been taken back meanwhile
            if told is not None and await self._mend(told):
                return replace(found, told=told, trouble="")
        return found

    async def _mend(self, network: GuestNetwork) -> bool:
        try:
            await self.driver.ensure_router(network)
        except Fault as fault:
            log.warning(
                "router not mended",
                network=network.network,
                fault=fault.message,
                detail=fault.detail,
            )
            return False
        log.info("router mended", network=network.network)
        return True

    @asynccontextmanager
    async def alone(self, network: NetworkId) -> AsyncGenerator[None]:
        """Hold the network's lock; it exists only while somebody holds or awaits it.

        It is named by eight digits of the id: more a host may not know of a network.
        """
        short = network[:8]
        lock, users = self._locks.get(short) or (asyncio.Lock(), 0)
        self._locks[short] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[short]
            if users > 1:
                self._locks[short] = lock, users - 1
            else:
                del self._locks[short]
