"""Recount: tallies of hosts and pools that their rows do not add up to are counted anew.

Rows and tallies change in the same commits, so a tally is wrong only by a csnode that counts less:
one of wire 3 counts no MHz, and it may be at work while hosts and pools are upgraded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TypeVar

from csnode.data.change import Change
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Fault
from csnode.log import logger
from csnode.model import fit
from csnode.model.entity import Entity
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.orders import MigrateVm
from csnode.model.room import BYTES, coming, moves_of, promised
from csnode.model.stock import Tally, miscounted
from csnode.model.vm import Vm
from csnode.model.volume import Volume

log = logger("orchestrator")
AT_A_TIME = 500  # rows looked at, in some milliseconds
E = TypeVar("E", bound=Entity)
Owner = Host | StoragePool
Sums = Mapping[str, Counter[str]]  # by the owner's id
COUNTED: dict[type[Entity], tuple[str, ...]] = {Host: fit.COUNTED, StoragePool: (BYTES,)}


async def gently(rows: Sequence[E]) -> AsyncGenerator[E]:
    """Yield one after the other; now and then others have their turn: leases are renewed."""
    for number, row in enumerate(rows, start=1):
        yield row
        if number % AT_A_TIME == 0:
            await asyncio.sleep(0)


class Recount:
    """The sweep of one orchestrator. Several may sweep at once: one of them counts."""

    def __init__(self, store: Store, view: View) -> None:
        self._store, self._view = store, view

    async def turn(self) -> None:
        """Look at every tally in the view, and count anew those that look wrong."""
        view = self._view
        hosts, pools, tallies = view.all(Host), view.all(StoragePool), view.all(Tally)
        vms, volumes, jobs = view.all(Vm), view.all(Volume), view.all(Job)  # of one moment
        used = {tally.id: tally.used for tally in tallies}
        await self._mend(_wrong(hosts, used, await _reserved(vms)))
        await self._mend(_wrong(pools, used, await _promised(volumes, jobs)))

    async def _mend(self, owners: Sequence[Owner]) -> None:
        """Read again, the tallies first: what others count meanwhile makes our commit Stale."""
        if not owners:
            return
        tallies = [await self._tally(owner) for owner in owners]
        right = await self._right(type(owners[0]))
        for owner, tally in zip(owners, tallies, strict=True):
            if tally is not None:
                await self._count(owner, tally, right.get(owner.id, Counter()))

    async def _tally(self, owner: Owner) -> Tally | None:
        """Return the owner's tally, made if there is none; None if the owner has left the cloud."""
        found = await self._store.find(Tally, id=owner.id)
        if not found:
            change = self._change_of(owner)
            change.count(owner.id, {COUNTED[type(owner)][-1]: 1})
            try:
                await change.commit()
            except Fault as fault:
                log.info("not counted now", owner=owner.id, why=fault.message)
                return None
            found = await self._store.find(Tally, id=owner.id)
        return found[0] if found else None

    def _change_of(self, owner: Owner) -> Change:
        """Return a commit that is refused, so counts nothing, if the owner has left the cloud."""
        change = self._store.change()
        change.update(type(owner), owner.id)  # no column: only a proof that it is there
        return change

    async def _right(self, kind: type[Owner]) -> Sums:
        """Reckon by the rows as they are now."""
        if kind is Host:
            return fit.reserved(await self._store.find(Vm))
        migrations = [job for job in await self._store.find(Job) if job.verb == MigrateVm.verb()]
        bytes = promised(await self._store.find(Volume), migrations)
        return {pool: Counter({BYTES: amount}) for pool, amount in bytes.items()}

    async def _count(self, owner: Owner, tally: Tally, right: Counter[str]) -> None:
        """Commit what is right, unless the tally has moved since it was read."""
        counted = {what: right[what] for what in COUNTED[type(owner)]}
        if not miscounted(tally.used, counted, counted):
            return
        change = self._change_of(owner)
        change.delete(Tally, owner.id, revision=tally.revision)
        change.count(owner.id, {**tally.used, **counted})
        try:
            await change.commit()
        except Fault as fault:
            log.info("not counted now", owner=owner.id, why=fault.message)
        else:
            log.warning("counted anew", owner=owner.name, was=tally.used, now=counted)


def _wrong(
    owners: Sequence[Owner], used: Mapping[str, Mapping[str, int]], right: Sums
) -> list[Owner]:
    """Return those whose tally is not what their rows add up to."""
    none: Counter[str] = Counter()
    return [
        owner
        for owner in owners
        if miscounted(used.get(owner.id, {}), right.get(owner.id, none), COUNTED[type(owner)])
    ]


async def _reserved(vms: Sequence[Vm]) -> Sums:
    sums: dict[str, Counter[str]] = {}
    async for vm in gently(vms):
        for host, held in fit.reserved((vm,)).items():
            sums.setdefault(host, Counter()).update(held)
    return sums


async def _promised(volumes: Sequence[Volume], jobs: Sequence[Job]) -> Sums:
    bytes, rows = Counter[str](), dict[str, Volume]()
    async for volume in gently(volumes):
        rows[volume.id] = volume
        bytes.update(promised((volume,), ()))
    bytes.update(coming(rows, [job async for job in gently(jobs) if moves_of(job)]))
    return {pool: Counter({BYTES: amount}) for pool, amount in bytes.items()}
