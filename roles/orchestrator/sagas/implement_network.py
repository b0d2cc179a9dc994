"""Implement: a network's router stands before any machine needs it."""

from __future__ import annotations

from csnode import uuids
from csnode.faults import Full
from csnode.model.host import Host, Seen
from csnode.model.network import Network
from csnode.model.orders import ImplementNetwork
from csnode.saga.saga import Saga, step
from csnode.types import HostId
from roles.orchestrator.networks import drop_unfinished, ensure_network


class Implement(Saga[ImplementNetwork]):
    """Ends with the router serving, or with nothing of it."""

    event = "NETWORK.CREATE"

    @step
    async def host(self) -> HostId:
        await self.view.fresh()
        network = await self.store.get(Network, self.order.network)
        up = [
            h
            for h in self.view.all(Host)
            if h.zone == network.zone and h.enabled and h.seen is Seen.UP and not h.fenced
        ]
        if not up:
            raise Full("No host of the zone is up to carry the network's router")
        return HostId(uuids.source.choice(sorted(h.id for h in up)))

    @step
    async def router(self) -> None:
        await ensure_network(self, self.order.network, self.host)

    @router.undo
    async def drop_router(self) -> None:
        await drop_unfinished(self, self.order.network, self.host)

    async def failed(self, why: str) -> None:
        self.change.update(Network, self.order.network, trouble=why)
