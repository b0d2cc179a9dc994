"""The orchestrator role: claims orders and runs their sagas; any number of it may run.

Serves nothing: it picks work up. Writes jobs, and what its sagas decide (vm.host, volume.pool,
network.router, ...). Owns the jobs it has claimed, as long as its lease lasts.
"""

from __future__ import annotations

import asyncio

from csnode.clock import wall
from csnode.data.view import View
from csnode.directory.allowed import start_of
from csnode.faults import Fault
from csnode.log import logger
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account
from csnode.model.ids import orchestrator_lease
from csnode.model.job import Cancel, Job
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Lease, Lock, Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.role import Opened, Role, every
from csnode.saga.engine import Engine
from csnode.saga.saga import sagas
from csnode.types import NodeId
from csnode.uuids import new_id
from roles.orchestrator.config import OrchestratorConfig
from roles.orchestrator.peers import Peers
from roles.orchestrator.tidy import Tidy
from roles.orchestrator.work import Work

PLACES = (Account, Zone, Pod, Cluster, Host, StoragePool, Offering)
KINDS = (*PLACES, Tally, Lease, Lock, Cancel, Job, Vm, Nic, Volume, Network)
log = logger("orchestrator")


class OrchestratorRole(Role[OrchestratorConfig]):
    """Takes jobs to their end."""

    name = "orchestrator"

    async def opened(self) -> Opened:
        self.view = View(self.store, KINDS)
        await self.view.open()
        self.engine = Engine(sagas(), self.bus, self.store, self.view, self.config.places_max)
        me = NodeId(start_of(self.node.node_id, new_id()[:8]))
        self.work = Work(self.config, me, self.store, self.view, self.engine)
        self.peers = Peers(me, self.config.lease_seconds, self.view, self.store.leases)
        self.tidy = Tidy(self.config, self.store, self.view)
        leasing = asyncio.create_task(self._stay_alive())
        try:
            yield
        finally:
            await self.work.abandon()
            leasing.cancel()
            await asyncio.gather(leasing, return_exceptions=True)
            self.view.close()

    async def _stay_alive(self) -> None:
        """Hold our lease. When it may be lost, let go of all jobs and start over.

        It is held by the name we claim under: by that, peers know it for our own renewal.
        """
        name, seconds = orchestrator_lease(self.work.me), self.config.lease_seconds
        while True:
            try:
                async with self.store.leases.hold(name, self.work.me, seconds) as held:
                    self.work.accepting = True
                    self.work.look()
                    await held.lost.wait()
                log.warning("lost the lease; its jobs are let go", lease=held.name)
            except Fault as fault:
                log.info("no lease yet", why=fault.message)
            await self.work.abandon()
            await asyncio.sleep(self.config.lease_seconds / 6)

    @every(seconds=1)
    async def look(self) -> None:
        """Look for whatever an event should have told us: events may all be lost."""
        await self.view.fresh()
        await self.peers.look()
        self.work.peers = self.peers.alive()
        self.work.look()

    @every(seconds=30)
    async def tidy_up(self) -> None:
        """Settle machines that halted, order what is due, and clear what is over."""
        await self.view.fresh()
        await self.tidy.turn(wall())

    @every(seconds=5)
    async def keep_running(self) -> None:
        """Start machines that are to be kept running, and do not run."""
        await self.view.fresh()
        await self.tidy.keep_running(wall())

    async def drain(self) -> None:
        await self.work.drain()
