"""The fabric role: makes a cloud's first rows, and enrols hosts and pools that appear.

Serves Fabric, and Membership where the cluster's key is. Writes zones, pods, clusters, hosts,
pools and who belongs. Owns nothing outside.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from csnode.clock import wall
from csnode.contracts.compute import Compute
from csnode.contracts.storage import Storage
from csnode.data.view import View
from csnode.directory.directory import Served
from csnode.directory.pool_hosts import reaching
from csnode.faults import Conflict, Fault
from csnode.log import logger
from csnode.model.host import Host, Retired, StoragePool
from csnode.role import Opened, Role, every
from csnode.types import ClusterId, HostId
from roles.fabric.config import FabricConfig
from roles.fabric.fence import HostPower
from roles.fabric.membership import Registry
from roles.fabric.seed import Seed

AT_ONCE = 32
log = logger("fabric")


class FabricRole(Role[FabricConfig]):
    """Any number may run: ids follow from names, so two that enrol one host enrol it once."""

    name = "fabric"

    async def opened(self) -> Opened:
        self.seed = Seed(self.node.cluster, self.config, self.node.state)
        await self.seed.sow(self.store)
        async with AsyncExitStack() as stack:
            self.view = View(self.store, (Host, StoragePool, Retired))
            stack.callback(self.view.close)
            await self.view.open()
            self.registry = await self._registry()
            if self.registry is not None:
                stack.callback(self.bus.retire, self.registry)
            self.power = HostPower(self.config, self.store, self.bus)
            self.bus.serve(self.power)
            stack.callback(self.bus.retire, self.power)
            self._enrolling = asyncio.Lock()
            self._news = asyncio.Event()
            self.bus.directory.watch(lambda _, __: self._news.set())
            hearing = asyncio.create_task(self._hear())
            try:
                yield
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.enrol()

    async def _registry(self) -> Registry | None:
        """Return what admits machines; only where the cluster's key is."""
        if self.trust is None or self.trust.authority is None:
            return None
        days = self.config.credential_days
        registry = Registry(self.store, self.node, self.trust, days * 86400.0)
        await registry.sow()
        return registry

    @every(seconds=2)
    async def admit(self) -> None:
        """Serve Membership while what we sign is what the cluster wants signed."""
        if self.registry is None:
            return
        await self.registry.successor.advance()
        if await self.registry.successor.able():
            self.bus.serve(self.registry)
        else:
            self.bus.retire(self.registry)

    @every(seconds=2)
    async def enrol(self) -> None:
        """Enrol hosts first: a pool names the host that reaches it."""
        if not self.config.enrol:
            return
        async with self._enrolling:
            for contract, enrol, known in (
                (Served.COMPUTE, self._enrol_host, Host),
                (Served.STORAGE, self._enrol_pool, StoragePool),
            ):
                new = [at for at in self._places(contract) if self._is_new(known, at)]
                for start in range(0, len(new), AT_ONCE):
                    await asyncio.gather(*(enrol(at) for at in new[start : start + AT_ONCE]))
            await self._tell_reach()

    def _is_new(self, known: type[Host | StoragePool], id: str) -> bool:
        return self.view.maybe(known, id) is None and self.view.maybe(Retired, id) is None

    async def _tell_reach(self) -> None:
        """Tell which hosts reach the pools that several do."""
        members = self.bus.directory.members()
        for pool in [pool for pool in self.view.all(StoragePool) if pool.host is None]:
            hosts = tuple(reaching(pool.id, pool.hosts, members))
            if hosts != pool.hosts:
                change = self.store.change()
                change.update(StoragePool, pool.id, revision=pool.revision, hosts=hosts)
                try:
                    await change.commit()
                except Fault as fault:
                    log.info("reach not told yet", pool=pool.name, why=fault.message)

    def _places(self, contract: str) -> list[str]:
        members = self.bus.directory.members()
        return sorted({at for member in members for at in member.places(contract)})

    async def _enrol_host(self, id: str) -> None:
        try:
            facts = await self.bus.ask(Compute, at=id).describe()
        except Fault as fault:
            log.info("host does not say what it is yet", host_id=id, why=fault.message)
            return
        await self._create(
            Host(
                id=id,
                name=facts.name,
                zone=self.seed.zone,
                pod=self.seed.pod,
                cluster=ClusterId(self.seed.cluster),
                address=facts.address,
                hypervisor=facts.hypervisor,
                cpus=facts.cpus,
                cpu_mhz=facts.cpu_mhz,
                memory_mib=facts.memory_mib,
                version=facts.version,
                ha=bool(self.config.fence),
                created=wall(),
            )
        )

    async def _enrol_pool(self, id: str) -> None:
        try:
            facts = await self.bus.ask(Storage, at=id).describe()
        except Fault as fault:
            log.info("pool does not say what it is yet", pool_id=id, why=fault.message)
            return
        host = self.view.maybe(Host, facts.address)
        if facts.address and host is None:
            return  # its host comes first: the pool names it
        await self._create(
            StoragePool(
                id=id,
                name=facts.name,
                zone=self.seed.zone,
                pod=self.seed.pod,
                cluster=ClusterId(self.seed.cluster),
                host=HostId(host.id) if host else None,
                type=facts.type,
                path=facts.path,
                address=host.address if host else facts.address,
                total_bytes=facts.total_bytes,
                used_bytes=facts.used_bytes,
                overprovisioning=self.config.storage_overprovisioning_factor,
                created=wall(),
            )
        )

    async def _create(self, row: Host | StoragePool) -> None:
        change = self.store.change()
        change.create(row)
        try:
            await self.view.reach((await change.commit()).number)
        except Conflict as conflict:
            log.info("not enrolled", name=row.name, why=conflict.message)
        else:
            log.info("enrolled", kind=row.kind, name=row.name)
