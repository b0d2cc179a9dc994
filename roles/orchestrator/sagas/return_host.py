"""Return: a fenced host that is heard again is used once nothing is left there of others."""

from __future__ import annotations

import asyncio

from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.data.alarm import HA, alarm
from csnode.faults import Conflict, NotFound, Unavailable
from csnode.log import logger
from csnode.model.host import Host, StoragePool
from csnode.model.network import Network
from csnode.model.orders import ReturnHost
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
        """Since when; 0 if it is taken back already."""
        return (await self.store.get(Host, self.order.host)).fenced

    @step
    async def released(self) -> None:
        """Every machine that its row still has here, or on its way here, lets go first: then
        whatever is on the host belongs elsewhere, and no network of it is in use."""
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
        """What this cloud never knew is somebody's, and the host's own sweep tells of it."""
        try:
            row = await self.store.get(Vm, vm)
        except NotFound:
            return await was_ours(self.store, vm)
        return row.host != self.order.host

    @step
    async def networks(self) -> tuple[str, ...]:
        """Two routers of one network would answer for one address."""
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
            if rows and all(row.router != host for row in rows):
                await self.ask(Networking, at=host).ensure_no_router(network)
                removed.append(network)
        return tuple(removed)

    @step
    async def volumes(self) -> tuple[str, ...]:
        """Copies that moves left in pools of the host: the sweep takes many of them for a sign
        that the records are wrong, and touches none."""
        aside: list[str] = []
        if not self.fenced:
            return ()
        for pool in await self.store.find(StoragePool, host=self.order.host):
            storage = self.ask(Storage, at=PoolId(pool.id))
            try:
                held = sorted((await storage.survey()).volumes)
            except Unavailable as fault:
                log.warning("pool not looked through", pool=pool.id, why=fault.message)
                continue
            for row in await self.store.find(Volume, id=tuple(held)):
                busy = row.vm is not None and await at_work(self.store, row.vm)
                if row.pool not in (None, pool.id) and not busy:
                    await self._check_fenced()
                    await storage.set_aside(VolumeId(row.id))
                    aside.append(row.id)
        return tuple(aside)

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
        """The host, which nothing comes to while it is fenced as it was at the first step.

        Raises Conflict if it is not: machines may be on their way to it.
        """
        host = await self.store.get(Host, self.order.host)
        if host.fenced != self.fenced:
            raise Conflict(f"host {host.name} is not fenced as it was when this began")
        return host
