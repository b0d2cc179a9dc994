"""Sets aside what is in a pool and in no record; bytes are never deleted.

A job writes into a row where its bytes belong before it has them made, and takes it out after
they are gone. So whoever reads the row alone with the bytes knows whether they are anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence

from csnode.data.store import Store
from csnode.faults import Conflict, Fault
from csnode.log import logger
from csnode.model.machine import Holdings
from csnode.model.template import Template
from csnode.model.volume import Volume
from csnode.sweep import FEW, Strangers, at_work
from csnode.types import TemplateId, VolumeId
from roles.storage.pool import PoolStorage

POOLS_AT_ONCE = 200  # whose rows are read with one question
log = logger("storage")


class PoolSweep:
    """One pool's strangers."""

    def __init__(self, pool: PoolStorage, store: Store, ghost_seconds: float) -> None:
        self.pool, self._store = pool, store
        where = f"pool {pool.id}"
        self._volumes = Strangers("volumes", where, ghost_seconds)
        self._images = Strangers("images", where, ghost_seconds)

    @property
    def troubles(self) -> Sequence[str]:
        return [s.trouble for s in (self._volumes, self._images) if s.trouble]

    async def turn(self, held: Holdings, volumes: set[str], templates: set[str]) -> None:
        """Take a turn.

        `held` was found in the pool, then the rows were read that know it: their ids.
        """
        strangers = {str(id) for id in held.volumes} - volumes
        left = await self._left_behind(strangers) if len(strangers) > FEW else set[str]()
        for id in self._volumes.ripe(strangers, len(held.volumes), left):
            await self._quietly_aside(VolumeId(id))
        for id in self._images.ripe(set(held.templates) - templates, len(held.templates)):
            await self._quietly_aside(TemplateId(id))

    async def _left_behind(self, strangers: set[str]) -> set[str]:
        """Find, of these volumes, those that this cloud had and that belong in no pool any more.

        A job that ends while a host is off leaves what it made in that host's pool.
        """
        rows = {row.id: row for row in await self._store.find(Volume, id=tuple(sorted(strangers)))}
        left = {id for id, row in rows.items() if row.pool is None}
        for id in sorted(strangers - rows.keys()):
            if await self._store.data.history(id, "", 1):
                left.add(id)
        return left

    async def _quietly_aside(self, id: VolumeId | TemplateId) -> None:
        try:
            async with self.pool.turn(id):
                if not await self._is_known(id):
                    await self.pool.driver.set_aside(id)
                    log.warning("a stranger was set aside", id=id, pool=self.pool.id)
        except Conflict as conflict:  # an image that volumes stand on stays
            log.info("not set aside", id=id, pool=self.pool.id, why=conflict.message)
        except Fault as fault:
            log.warning("not set aside", id=id, pool=self.pool.id, why=fault.message)

    async def _is_known(self, id: str) -> bool:
        for row in await self._store.find(Volume, id=id):
            return row.pool == self.pool.id or bool(row.vm and await at_work(self._store, row.vm))
        return bool(await self._store.find(Template, id=id)) or await at_work(self._store, id)


async def sweep(sweeps: Sequence[PoolSweep], store: Store) -> None:
    """Take one turn for all pools, with one question for each kind of row."""
    found: list[tuple[PoolSweep, Holdings]] = []
    for each in sweeps:
        try:
            found.append((each, await each.pool.survey()))
        except Fault as fault:
            log.info("cannot survey the pool", pool=each.pool.id, why=fault.message)
    volumes = await _volumes(tuple(each.pool.id for each, _ in found), store)
    images = tuple({id for _, held in found for id in held.templates})
    templates = {row.id for row in await store.find(Template, id=images)} if images else set[str]()
    for each, held in found:
        await each.turn(held, volumes.get(each.pool.id, set()), templates)


async def _volumes(pools: Sequence[str], store: Store) -> dict[str, set[str]]:
    """Return the ids of the volumes that belong in each pool."""
    known: dict[str, set[str]] = {}
    for start in range(0, len(pools), POOLS_AT_ONCE):
        for row in await store.find(Volume, pool=tuple(pools[start : start + POOLS_AT_ONCE])):
            known.setdefault(str(row.pool), set()).add(row.id)
    return known
