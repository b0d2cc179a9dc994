"""Shut down: a network's router goes; with remove, the network goes too."""

from __future__ import annotations

from csnode.contracts.networking import Networking
from csnode.model.network import Network, Nic
from csnode.model.orders import ShutdownNetwork
from csnode.model.stock import Range
from csnode.model.vm import Vm
from csnode.saga.saga import Saga, step


class Shutdown(Saga[ShutdownNetwork]):
    """Ends with the network Allocated, or without a trace of it."""

    event = "NETWORK.DELETE"

    @step
    async def router(self) -> bool:
        """Whether it went: one that a machine came to meanwhile stays."""
        network = await self.store.get(Network, self.order.network)
        if network.router is None:
            return True
        if not self.order.remove and await self._is_needed():
            return False
        change = self.store.change()
        change.update(Network, network.id, revision=network.revision, up=False)
        await change.commit()
        await self.ask(Networking, at=network.router).ensure_no_router(self.order.network)
        self.change.update(Network, network.id, router=None)
        return True

    async def _is_needed(self) -> bool:
        nics = await self.store.find(Nic, network=self.order.network)
        vms = [self.view.maybe(Vm, nic.vm) for nic in nics]
        return any(vm is not None and vm.host for vm in vms)

    async def succeeded(self) -> None:
        if self.order.remove:
            network = await self.store.get(Network, self.order.network)
            self.change.give(network.id)
            self.change.delete(Range, f"guest:{network.id}")
            self.change.delete(Network, network.id)

    async def failed(self, why: str) -> None:
        self.change.update(Network, self.order.network, gone=False, trouble=why)
