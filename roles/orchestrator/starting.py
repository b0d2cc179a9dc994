"""What the sagas that start a machine have in common: what fails here is tried elsewhere."""

from __future__ import annotations

from typing import TypeVar

from csnode.faults import Fault, Full, Outdated, Refused, Unavailable
from csnode.model.host import Host, StoragePool
from csnode.model.job import Tried
from csnode.model.network import Network, Nic
from csnode.model.orders import PlacedOrder
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import HostId, PoolId
from roles.orchestrator.machine import MachineSaga

PlacedOrderT = TypeVar("PlacedOrderT", bound=PlacedOrder)


class StartingSaga(MachineSaga[PlacedOrderT]):
    """Has a step `host`, and after it `disks`, `routers`, `plugs` and `power`."""

    def elsewhere(self, step: str, fault: Fault) -> Tried | None:
        """Return the pool of a disk that failed, or the host unless the order asks for it alone."""
        host: HostId | None = self.results.get("host")
        if host is None:
            return None
        if step == "disks" and self.pool_at_work is not None:
            return self._tried_at(StoragePool, self.pool_at_work, fault)
        at_host = step in ("disks", "plugs", "power") or (
            step == "routers" and self._builds_at(host)
        )
        if not at_host or self.order.host is not None:
            return None
        if not self.reach(self._placed()) - {host, *(t.id for t in self.job.tried)}:
            return None  # its disks are reached from nowhere else
        return self._tried_at(Host, host, fault)

    def _placed(self) -> list[PoolId]:
        """Return the pools of disks that stay where they are: the machine has run on them."""
        vm = self.view.maybe(Vm, self.order.vm)
        volumes = self.view.by(Volume, "vm", self.order.vm) if vm is not None and vm.started else ()
        return [volume.pool for volume in volumes if volume.pool is not None]

    def _builds_at(self, host: HostId) -> bool:
        """Tell whether a network of the machine is to get its router on that host."""
        nics = self.view.by(Nic, "vm", self.order.vm)
        networks = [self.view.maybe(Network, nic.network) for nic in nics]
        return any(n is not None and not n.up and n.router in (None, host) for n in networks)

    def _tried_at(self, kind: type[Host | StoragePool], id: str | None, why: Fault) -> Tried | None:
        """Return the place as tried, if it failed in a way that another need not."""
        row = self.view.maybe(kind, id)
        if row is None or not isinstance(why, (Unavailable, Refused, Full)):
            return None
        return None if isinstance(why, Outdated) else Tried(id=row.id, name=row.name, why=str(why))
