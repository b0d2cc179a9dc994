"""Shut down: a network's router goes; with remove, the network goes too."""

from __future__ import annotations

from contextlib import suppress

from csnode.context import acting
from csnode.contracts.networking import Networking
from csnode.faults import NotFound, Outdated, Stale, Unavailable
from csnode.model.host import Host
from csnode.model.ids import guest_addresses
from csnode.model.network import Network, Nic
from csnode.model.orders import ShutdownNetwork
from csnode.model.stock import Range
from csnode.model.vm import Vm
from csnode.saga.saga import Saga, step
from csnode.types import HostId
from roles.orchestrator.networks import can_drop


class Shutdown(Saga[ShutdownNetwork]):
    """Ends with the network Allocated, or without a trace of it."""

    event = "NETWORK.DELETE"

    @step
    async def host(self) -> HostId | None:
        """Find where the router stands: the row forgets it before the router goes."""
        return (await self._network()).router

    @step
    async def router(self) -> bool:
        """Remove the router; return whether it went: one that a machine came to meanwhile stays."""
        if self.host is None:
            return True
        number = await self._take_from_row(self.host)
        if number is None:
            return False
        if await can_drop(self, Host, self.host, self.order.network):
            with acting(fence=number), suppress(Outdated):  # somebody has built it there since
                await self.ask(Networking, at=self.host).ensure_no_router(self.order.network)
        return True

    @router.undo
    async def remember_host(self) -> None:
        """Write the host into the row again, for what may be left there of the router.

        It is found again by whoever shuts the network down next, or is made whole by whoever needs
        it.
        """
        network = await self._network()
        if network.router is None and self.host is not None:
            if not await self._is_of_cloud(self.host):
                return  # what was left of it went with the host
            try:
                number = await self._write(network, self.host, up=False)
            except NotFound:
                if await self._is_of_cloud(self.host):
                    raise
                return
            with acting(fence=number), suppress(Unavailable):
                await self.ask(Networking, at=self.host).outdate(self.order.network)

    async def _is_of_cloud(self, host: HostId) -> bool:
        """Tell whether the host is of the cloud.

        A fenced one is, too: what it has is found once it is back.
        """
        try:
            await self.store.get(Host, host)
        except NotFound:
            return False
        return True

    async def _take_from_row(self, host: HostId) -> int | None:
        """Take the router from its row; return that commit's number, None if the router stays."""
        while True:
            network = await self._network()
            if network.router not in (None, host):
                return None
            serves = network.router is not None and not self.order.remove
            if serves and await self._is_needed():
                return None
            try:
                number = await self._write(network, None, up=False)
            except Stale:
                continue
            if serves and await self._is_needed():  # a machine came between the two
                await self._put_back(host, network.up)
                return None
            return number

    async def _put_back(self, host: HostId, up: bool) -> None:
        network = await self._network()
        if network.router is None:
            # Stale: somebody has chosen a host for it, this one or another. NotFound: it left
            with suppress(Stale, NotFound):
                await self._write(network, host, up=up)

    async def _write(self, network: Network, router: HostId | None, up: bool) -> int:
        change = self.store.change()
        change.update(Network, network.id, revision=network.revision, router=router, up=up)
        return await self.commit(change)

    async def _network(self) -> Network:
        return await self.store.get(Network, self.order.network)

    async def _is_needed(self) -> bool:
        nics = await self.store.find(Nic, network=self.order.network)
        await self.view.fresh()
        vms = [self.view.maybe(Vm, nic.vm) for nic in nics]
        return any(vm is not None and vm.host for vm in vms)

    async def succeeded(self) -> None:
        if self.order.remove:
            network = await self._network()
            self.change.give(network.id)
            self.change.delete(Range, guest_addresses(network.id))
            self.change.delete(Network, network.id)

    async def failed(self, why: str) -> None:
        self.change.update(Network, self.order.network, gone=False, trouble=why)
