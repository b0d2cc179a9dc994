"""Implement: a network's router stands before any machine needs it."""

from __future__ import annotations

from csnode import uuids
from csnode.data.alarm import ROUTER, alarm
from csnode.faults import Full
from csnode.model.fit import closed, places
from csnode.model.host import Host
from csnode.model.network import Network
from csnode.model.orders import ImplementNetwork
from csnode.model.place import Cluster, Pod
from csnode.saga.saga import Saga, step
from csnode.types import HostId
from roles.orchestrator.lost import needs_router
from roles.orchestrator.networks import drop_unfinished, ensure_network


class Implement(Saga[ImplementNetwork]):
    """Ends with the router serving, or with nothing of it."""

    event = "NETWORK.CREATE"

    @step
    async def host(self) -> HostId:
        await self.view.fresh()
        network = await self.store.get(Network, self.order.network)
        within = places(self.view.all(Cluster), self.view.all(Pod))
        hosts = [h for h in self.view.all(Host) if h.zone == network.zone]
        fit = sorted(h.id for h in hosts if not closed(h, within))
        if not fit:
            reasons = "; ".join(sorted(f"{h.name}: {closed(h, within)}" for h in hosts))
            raise Full(
                "No host of the zone can carry the network's router: "
                f"{reasons or 'there are no hosts'}"
            )
        return HostId(uuids.source.choice(fit))

    @step
    async def router(self) -> None:
        await ensure_network(self, self.order.network, self.host)

    @router.undo
    async def drop_router(self) -> None:
        """Drop it where its row has it: it may stand half made where another job began it."""
        network = await self.store.get(Network, self.order.network)
        await drop_unfinished(self, self.order.network, network.router or self.host)

    async def failed(self, why: str) -> None:
        network = await self.store.get(Network, self.order.network)
        self.change.update(Network, network.id, trouble=why)
        hosts = (h for h in self.view.all(Host) if h.zone == network.zone)
        host = self.view.maybe(Host, network.router) or next(hosts, None)
        if host is not None and needs_router(self.view, network):
            text = f"Network {network.name} has no router, and machines run in it: {why}"
            await alarm(self.store, ROUTER, host, network.id, text)
