"""What storage leases tell of a host: which pools its machines are on, and what others read there.

Every machine counts that may have a domain on the host, whatever was last seen of it there.
"""

from __future__ import annotations

import asyncio

from csnode.bus.bus import Bus
from csnode.contracts.keeper import Keeper
from csnode.data.store import Store
from csnode.directory.directory import Health, Served, serving
from csnode.drivers.fencer import Leased, LeaseSeen, PoolSeen
from csnode.faults import Fault
from csnode.model.host import Host, StoragePool
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import HostId, PoolId

ANSWER_S = 5.0
KEEPERS_MAX = 5  # asked about one pool


class HostLeases:
    """Of one host. Nobody's word is taken from before the question."""

    def __init__(self, store: Store, bus: Bus, host: Host, trusted: bool) -> None:
        self._store, self._bus = store, bus
        self._host, self._trusted = host, trusted

    async def look(self) -> Leased:
        pools = {pool.id: pool for pool in await self._store.find(StoragePool)}
        machines = [vm for vm in await self._store.find(Vm) if self._may_run(vm)]
        used, unguarded = await self._places(machines, pools)
        if not machines:
            used = {id for id, pool in pools.items() if self._host.id in pool.hosts}
        seen = await asyncio.gather(*(self._seen(pools[id]) for id in sorted(used)))
        return Leased(pools=tuple(seen), unguarded=tuple(unguarded), trusted=self._trusted)

    def _may_run(self, vm: Vm) -> bool:
        return self._host.id in vm.may_be_on

    async def _places(
        self, machines: list[Vm], pools: dict[str, StoragePool]
    ) -> tuple[set[str], list[str]]:
        """Find shared pools that the machines have disks on, and what of them is elsewhere."""
        ids = tuple(vm.id for vm in machines)
        volumes = await self._store.find(Volume, vm=ids) if ids else []
        used: set[str] = set()
        unguarded: list[str] = []
        for vm in machines:
            disks = [volume for volume in volumes if volume.vm == vm.id and not volume.gone]
            if not disks:
                unguarded.append(f"{vm.name} has no disk")
            for disk in disks:
                pool = pools.get(disk.pool or "")
                if pool is not None and pool.host is None:
                    used.add(pool.id)
                else:
                    where = f"pool {pool.name}, which is its host's own" if pool else "no pool yet"
                    unguarded.append(f"{vm.name} has a disk on {where}")
        return used, unguarded

    async def _seen(self, pool: StoragePool) -> PoolSeen:
        """Ask keepers of other hosts that reach the pool what they see."""
        others = {
            at: member.host
            for member in serving(self._bus.directory.members(), Served.KEEPER)
            if member.health is not Health.SUSPECT
            for served in member.serves
            if served.contract == Served.KEEPER and self._host.id not in served.at
            for at in served.at
            if at in pool.hosts
        }
        asked = sorted(others.items())[:KEEPERS_MAX]
        seen = await asyncio.gather(*(self._by(at, name, pool) for at, name in asked))
        return PoolSeen(name=pool.name, seen=tuple(seen))

    async def _by(self, at: str, name: str, pool: StoragePool) -> LeaseSeen:
        try:
            async with asyncio.timeout(ANSWER_S):
                said = await self._bus.ask(Keeper, at=at).standing(
                    HostId(self._host.id), PoolId(pool.id)
                )
        except TimeoutError:
            return LeaseSeen(by=name, why="it does not answer")
        except Fault as fault:
            return LeaseSeen(by=name, why=fault.message)
        return LeaseSeen(by=name, lease=said.lease, still_s=said.still_s)
