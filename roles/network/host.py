"""Networking at one host: one verb at a time per network, and none from a lost fence.

Many jobs may build one network's router side by side; only the latest may take it down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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
        self._driver = driver
        self._locks: dict[NetworkId, tuple[asyncio.Lock, int]] = {}
        self._fences = Fences()

    async def ensure_router(self, network: GuestNetwork) -> None:
        async with self._alone(network.network):
            self._fences.note(network.network)
            await self._driver.ensure_router(network)

    async def ensure_no_router(self, network: NetworkId) -> None:
        async with self._alone(network):
            self._fences.check(network)
            await self._driver.ensure_no_router(network)

    async def ensure_nic(self, nic: GuestNic) -> None:
        async with self._alone(nic.network):
            self._fences.check(nic.nic)
            await self._driver.ensure_nic(nic)

    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        async with self._alone(network):
            self._fences.check(nic)
            await self._driver.ensure_no_nic(network, nic)

    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        async with self._alone(network.network):
            self._fences.check(nic.nic)
            return await self._driver.ensure_plug(network, nic)

    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        return await self._driver.survey()

    async def inspect(self) -> tuple[FoundNetwork, ...]:
        return await self._driver.inspect()

    async def repair(self) -> None:
        """Tell the driver again of every router that it was told of and that does not work."""
        driver = self._driver
        if not isinstance(driver, Remembers) or not driver.told():
            return
        working = await driver.survey()
        for network in [n for n in driver.told() if n not in working]:
            async with self._alone(network):
                told = driver.told().get(network)  # it may have been taken back meanwhile
                if told is not None:
                    await self._mend(told)

    async def _mend(self, network: GuestNetwork) -> None:
        try:
            await self._driver.ensure_router(network)
        except Fault as fault:
            log.warning(
                "router not mended",
                network=network.network,
                fault=fault.message,
                detail=fault.detail,
            )
        else:
            log.info("router mended", network=network.network)

    @asynccontextmanager
    async def _alone(self, network: NetworkId) -> AsyncGenerator[None]:
        """Hold the network's lock; it exists only while somebody holds or awaits it."""
        lock, users = self._locks.get(network) or (asyncio.Lock(), 0)
        self._locks[network] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[network]
            if users > 1:
                self._locks[network] = lock, users - 1
            else:
                del self._locks[network]
