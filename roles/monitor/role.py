"""The monitor role: watches hosts and pools; any number of it may run, one acts.

Serves nothing. Writes the facts host.seen, why, and its capacity, pool.up and its room. Orders
that a host which is Down is fenced, and that one that comes back is taken back. Owns nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

from csnode.clock import now, wall
from csnode.contracts.compute import Compute
from csnode.contracts.storage import Storage
from csnode.data.view import View
from csnode.drivers.driver import Seat
from csnode.drivers.prober import Prober
from csnode.faults import Conflict, Fault, NotFound
from csnode.log import logger
from csnode.model.fit import reaches
from csnode.model.host import Host, Seen, StoragePool
from csnode.plugins import driver_type
from csnode.role import Opened, Role, every
from roles.monitor.config import MonitorConfig
from roles.monitor.watch import Watch
from roles.monitor.witnesses import Witnesses

LEASE = "monitor"
AT_ONCE = 32
log = logger("monitor")


class MonitorRole(Role[MonitorConfig]):
    """Acts while it holds the monitors' lease; the others stand by."""

    name = "monitor"

    async def opened(self) -> Opened:
        self.view = View(self.store, (Host, StoragePool))
        with closing(self.view):
            await self.view.open()
            self._acting = False
            self._asked: dict[str, float] = {}
            seat = Seat(id=self.node.host_id, name=self.node.host_name, address="", folder="")
            kind: type[Prober] = driver_type(Prober, self.config.prober)
            async with kind({}, seat) as prober:
                directory = self.bus.directory
                witnesses = Witnesses(self.bus, prober)
                self.watch = Watch(
                    self.store, self.view, directory, witnesses, self.config.silence_seconds
                )
                directory.watch(lambda _, __: self.watch.wake.set())
                self.view.listen(Host, self._enrolled)
                leading = asyncio.create_task(self._lead())
                try:
                    yield
                finally:
                    leading.cancel()
                    witnesses.close()
                    await asyncio.gather(leading, return_exceptions=True)

    def _enrolled(self, old: Host | None, new: Host | None) -> None:
        """Judge a new host at once, and one that was taken back; some are to be measured."""
        if new is not None and (old is None or old.fenced != new.fenced):
            self.watch.wake.set()
        if old is not None and new is not None and old.reconnect != new.reconnect:
            self._asked.pop(new.id, None)

    async def _lead(self) -> None:
        while True:
            try:
                async with self.store.hold(LEASE, self.config.lease_seconds) as held:
                    self._acting = True
                    async with self._watching():
                        await held.lost.wait()
            except Conflict:
                pass  # another monitor acts
            except Fault as fault:
                log.info("no lease yet", why=fault.message)
            finally:
                self._acting = False
            await asyncio.sleep(self.config.lease_seconds / 3)

    @asynccontextmanager
    async def _watching(self) -> AsyncGenerator[None]:
        """Judge the hosts whenever the directory has news, and every second without."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        watch = self.watch
        while True:
            watch.wake.clear()
            try:
                await watch.judge(self._measure_host)
            except Fault as fault:
                log.info("cannot write what was seen", why=fault.message)
            try:
                async with asyncio.timeout(watch.next_s):
                    await watch.wake.wait()
            except TimeoutError:
                pass

    @every(seconds=5)
    async def measure(self) -> None:
        """Ask hosts and pools how much they have, each once a minute; many at once."""
        if not self._acting:
            return
        due = now() - self.config.capacity_seconds
        rows: list[Host | StoragePool] = [
            row
            for row in (*self.view.all(Host), *self.view.all(StoragePool))
            if self._asked.get(row.id, due) <= due or self._may_be_back(row)
        ]
        for start in range(0, len(rows), AT_ONCE):
            await asyncio.gather(*(self._measure(row) for row in rows[start : start + AT_ONCE]))

    def _may_be_back(self, row: Host | StoragePool) -> bool:
        """Tell whether a pool was not up, and a host that reaches it came a minute ago or less."""
        if not isinstance(row, StoragePool) or row.up:
            return False
        since = wall() - self.config.capacity_seconds
        hosts = [host for host in self.view.all(Host) if reaches(row, host.id)]
        return any(host.seen is Seen.UP and host.seen_since > since for host in hosts)

    async def _measure(self, row: Host | StoragePool) -> None:
        self._asked[row.id] = now()
        if isinstance(row, StoragePool):
            await self._measure_pool(row)
        elif row.seen is Seen.UP:
            await self._measure_host(row)

    async def _measure_host(self, host: Host) -> None:
        try:
            facts = await self.bus.ask(Compute, at=host.id).describe()
        except Fault as fault:
            log.info("host does not say what it has", host=host.name, why=fault.message)
            return
        await self._observe_host(
            host,
            cpus=facts.cpus,
            cpu_mhz=facts.cpu_mhz,
            memory_mib=facts.memory_mib,
            version=facts.version,
        )

    async def _measure_pool(self, pool: StoragePool) -> None:
        try:
            facts = await self.bus.ask(Storage, at=pool.id).describe()
            news: dict[str, object] = {
                "up": True,
                "away_since": 0.0,
                "total_bytes": facts.total_bytes,
                "used_bytes": facts.used_bytes,
            }
        except Fault as fault:
            log.info("pool does not answer", pool=pool.name, why=fault.message)
            news = {"up": False, "away_since": pool.away_since or wall()}
        try:
            await self.store.observe(StoragePool, pool.id, **news)
        except NotFound:
            self._asked.pop(pool.id, None)

    async def _observe_host(self, host: Host, **facts: object) -> None:
        try:
            await self.store.observe(Host, host.id, **facts)
        except NotFound:
            log.info("host left meanwhile", host=host.name)
