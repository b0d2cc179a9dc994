"""The operator of a world: cuts a host's power, says so to the cloud, and brings the host back;
at the end he opens whatever clients closed.

`declareHostAsDegraded` is a word that must be true, so no client of `load.py` may give it: the
operator keeps the host off until he knows what became of the order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from csnode.faults import Unavailable
from csnode.model.entity import Entity
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.place import Cluster, Pod, Zone
from csnode.testing.load import Client, Load
from csnode.testing.tenants import ADMIN

ODDS = 0.5  # how many worlds have an operator at work
HOSTING = {"compute", "network", "storage", "keeper"}
LOST = (Seen.ALERT, Seen.DISCONNECTED, Seen.DOWN)
NOTICED_S = 60.0  # a host without power is noticed by then, or not in this world
UNKNOWN_S = 60.0  # an order that nobody answered has been carried out by then, or never is
AGAIN = 5  # how often he gives an order that was not answered or came too early

CURES: dict[type[Entity], dict[str, tuple[Any, str, dict[str, str]]]] = {
    Zone: {"enabled": (True, "updateZone", {"allocationstate": "Enabled"})},
    Pod: {"enabled": (True, "updatePod", {"allocationstate": "Enabled"})},
    Cluster: {"enabled": (True, "updateCluster", {"allocationstate": "Enabled"})},
    Host: {
        "enabled": (True, "updateHost", {"allocationstate": "Enable"}),
        "maintenance": ("", "cancelHostMaintenance", {}),
        "degraded": (False, "cancelHostAsDegraded", {}),
    },
    StoragePool: {
        "maintenance": (False, "cancelStorageMaintenance", {}),
        "enabled": (True, "updateStoragePool", {"enabled": "true"}),
    },
}
"""By kind and column: the value that is well, and what makes it so."""


async def operated(load: Load, seed: int) -> None:
    """Switch a host off and declare it degraded, once, in some worlds."""
    chance = random.Random(f"operator {seed}")
    machines = [m for m in load.world.hosts.values() if _only_hosts(load, m)]
    if chance.random() < ODDS and machines:
        await asyncio.sleep(chance.uniform(8.0, 25.0))
        await Operator(load, chance).degrade(chance.choice(machines))


async def put_right(load: Load) -> None:
    """Bring back whatever clients put away, as the operator: nothing is closed any more."""
    client = Client(load, ADMIN, random.Random("put right"))
    for kind, cures in CURES.items():
        for row in sorted(await load.world.store.find(kind), key=lambda row: row.id):
            for column, (good, command, more) in cures.items():
                if getattr(row, column) != good:
                    await client.send(command, {"id": row.id, **more})


def _only_hosts(load: Load, machine: str) -> bool:
    roles = {r for p in load.world.processes.values() if p.machine == machine for r in p.roles}
    return roles <= HOSTING


class Operator:
    """Somebody with a key to the racks."""

    def __init__(self, load: Load, chance: random.Random) -> None:
        self.world, self.chance = load.world, chance
        self.client = Client(load, ADMIN, chance)

    async def degrade(self, machine: str) -> None:
        """Take a host off: the cloud is told, its machines are released; then it comes back."""
        power, id = self.world.power, self.world.power.host(machine)
        power.kept_off.add(machine)
        await power.cut(machine)
        if await self._sees(id, lambda host: host.seen in LOST):
            await self._orders("declareHostAsDegraded", id)
            await asyncio.sleep(self.chance.uniform(0.0, 10.0))
        power.kept_off.discard(machine)
        await power.restore(machine)
        if await self._sees(id, lambda host: host.degraded):
            await asyncio.sleep(self.chance.uniform(0.0, 10.0))
            await self._orders("cancelHostAsDegraded", id)

    async def _orders(self, command: str, id: str) -> None:
        for _ in range(AGAIN):
            asked = await self.client.send(command, {"id": id})
            if asked.job:
                await self.client.ended(asked.job)
            if asked.status:
                return
            await asyncio.sleep(UNKNOWN_S)

    async def _sees(self, id: str, fact: Callable[[Host], bool]) -> bool:
        """Tell whether some api shows it within a minute."""

        async def shown() -> bool:
            if not (apis := self.world.apis()):
                raise Unavailable("no api runs")
            host = self.world.role(apis[0], "api").view.maybe(Host, id)
            return host is not None and fact(host)

        return await self.world.until(shown, NOTICED_S)
