"""Return: a fenced host that is heard again is used once nothing is left there of others."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.data.alarm import HA, alarm
from csnode.faults import Conflict, NotFound, Unavailable
from csnode.log import logger
from csnode.model.host import Host, StoragePool
from csnode.model.ids import left_in
from csnode.model.machine import FoundNetwork, Holdings
from csnode.model.network import Network, Nic
from csnode.model.orders import ReturnHost
from csnode.model.stock import Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.saga import Saga, step
from csnode.sweep import at_work, was_ours
from csnode.types import PoolId, VmId, VolumeId
from roles.orchestrator.lost import order_release

RELEASED_S = 60
log = logger("orchestrator")


class Return(Saga[ReturnHost]):
    """Ends with the host in use again, or fenced as it was. A domain goes at once: where the proof
    was an operator's word it may run, and write to a disk that another host has opened.

    Two monitors may order it, or one twice: a host that is in use by then is left alone.
    """

    event = "HOST.RECONNECT"

    @step
    async def fenced(self) -> float:
        """Note since when the host is fenced; 0 if it is taken back already."""
        return (await self.store.get(Host, self.order.host)).fenced

    @step
    async def released(self) -> None:
        """Release every machine that its row still has here, or on its way here.

        Then whatever is on the host belongs elsewhere, and no network of it is in use.
        """
        if not self.fenced:
            return
        for _ in range(RELEASED_S):
            await self.view.fresh()
            left = [vm for vm in self.view.all(Vm) if self.order.host in vm.held_by]
            if not left:
                return
            change = self.store.change()
            for vm in left:
                order_release(self.view, change, vm)
            if change.items:
                await self.commit(change)
            await asyncio.sleep(1.0)
        raise Unavailable("machines of the host have not let go of it yet")

    @step
    async def left(self) -> tuple[str, ...]:
        """Find what was to go from here while the host was off: its tally and its pools' say."""
        owners = [self.order.host, *(pool.id for pool in await self._pools())]
        tallies = await self.store.find(Tally, id=tuple(owners))
        return tuple(sorted({id for tally in tallies for id in left_in(tally.used)}))

    @step
    async def domains(self) -> tuple[str, ...]:
        host = self.order.host
        removed: list[str] = []
        if not self.fenced:
            return ()
        for vm in sorted(await self.ask(Compute, at=host).survey()):
            await self._check_fenced()
            if await self._belongs_elsewhere(vm):
                await self.ask(Compute, at=host).ensure_absent(vm)
                removed.append(vm)
        return tuple(removed)

    async def _belongs_elsewhere(self, vm: VmId) -> bool:
        """Tell whether the machine, if this cloud knew it, belongs to another host or to none.

        What this cloud never knew is somebody's, and the host's own sweep tells of it.
        """
        try:
            row = await self.store.get(Vm, vm)
        except NotFound:
            return vm in self.left or await was_ours(self.store, vm)
        return row.host != self.order.host

    @step
    async def networks(self) -> tuple[str, ...]:
        """Remove routers that belong elsewhere: two of one network would answer for one address."""
        host = self.order.host
        removed: list[str] = []
        if not self.fenced:
            return ()
        for found in await self.ask(Networking, at=host).inspect():  # broken ones too
            network = found.network
            await self._check_fenced()
            if not (found.told or found.trouble):
                continue  # only a bridge
            rows = await self.store.find(Network, id=network)
            if all(row.router != host for row in rows) if rows else network in self.left:
                await self.ask(Networking, at=host).ensure_no_router(network)
                removed.append(network)
            else:
                await self._drop_cards(found)
        return tuple(removed)

    async def _drop_cards(self, found: FoundNetwork) -> None:
        cards = [card.nic for card in found.nics if card.nic in self.left]
        known = {row.id for row in await self.store.find(Nic, id=tuple(cards))}
        for nic in cards:
            if nic not in known:
                networking = self.ask(Networking, at=self.order.host)
                await networking.ensure_no_nic(found.network, nic)

    @step
    async def volumes(self) -> tuple[str, ...]:
        """Set copies that moves left in pools of the host aside; drop what was to go.

        The sweep takes many of them for a sign that the records are wrong, and touches none.
        """
        aside: list[str] = []
        if not self.fenced:
            return ()
        for pool in await self._pools():
            storage = self.ask(Storage, at=PoolId(pool.id))
            try:
                held = await storage.survey()
            except Unavailable as fault:
                log.warning("pool not looked through", pool=pool.id, why=fault.message)
                continue
            known: set[str] = set()
            for row in await self.store.find(Volume, id=tuple(sorted(held.volumes))):
                busy = row.vm is not None and await at_work(self.store, row.vm)
                if busy or row.pool is not None or row.id not in self.left:
                    known.add(row.id)
                if row.pool not in (None, pool.id) and not busy:
                    await self._check_fenced()
                    await storage.set_aside(VolumeId(row.id))
                    aside.append(row.id)
            await self._drop_left(storage, held, known)
        return tuple(aside)

    async def _drop_left(self, storage: Storage, held: Holdings, known: set[str]) -> None:
        """Drop disks of no pool, and images of no row; an image that a disk stands on stays."""
        for volume in held.volumes:
            if volume in self.left and volume not in known:
                await self._check_fenced()
                await storage.ensure_no_volume(volume)
        for template in held.templates:
            if template in self.left and not await self.store.find(Template, id=template):
                await self._check_fenced()
                with suppress(Conflict):
                    await storage.ensure_no_image(template)

    @step
    async def nothing_left(self) -> None:
        """Clear the tallies of what is gone; the sweep goes on with a pool that did not answer."""
        owners = [self.order.host, *(pool.id for pool in await self._pools())]
        for tally in await self.store.find(Tally, id=tuple(owners)) if self.fenced else ():
            still = {what: n for what, n in tally.used.items() if not left_in((what,))}
            if still != tally.used:
                change = self.store.change()
                change.delete(Tally, tally.id, revision=tally.revision)
                change.count(tally.id, still)
                await self.commit(change)

    async def _pools(self) -> list[StoragePool]:
        """Find the host's own pools."""
        return await self.store.find(StoragePool, host=self.order.host)

    async def succeeded(self) -> None:
        if not self.fenced:
            return
        host = await self._check_fenced()
        self.change.update(Host, host.id, fenced=0.0, fence_proof="")
        await alarm(
            self.store, HA, host, f"back {host.fenced}", f"Host {host.name} is back: "
            f"{len(self.domains)} machines that belong elsewhere were removed from it",
        )  # fmt: skip

    async def _check_fenced(self) -> Host:
        """Return the host, while it is fenced as it was at the first step: nothing comes to it.

        Raises Conflict if it is not: machines may be on their way to it.
        """
        host = await self.store.get(Host, self.order.host)
        if host.fenced != self.fenced:
            raise Conflict(f"host {host.name} is not fenced as it was when this began")
        return host
