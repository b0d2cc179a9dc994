"""Looks at what is, and orders what is due: the sweep behind all events."""

from __future__ import annotations

from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Fault
from csnode.log import logger
from csnode.model.ids import orchestrator_in
from csnode.model.job import Cancel, Job
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.orders import (
    ExpungeVm,
    ImplementNetwork,
    Order,
    ReleaseVm,
    ShutdownNetwork,
    StartVm,
    StopVm,
)
from csnode.model.stock import Lease, Lock
from csnode.model.vm import Vm, Want, is_kept
from csnode.types import NetworkId, VmId
from roles.orchestrator.config import OrchestratorConfig
from roles.orchestrator.lost import due_again, is_busy, is_lost, needs_router
from roles.orchestrator.networks import keeps_router
from roles.orchestrator.recount import Recount, gently

log = logger("orchestrator")
BATCH = 200
HALF_MADE_S = 60.0  # whoever builds a router needs less, or tries again
LEASE_KEPT_S = 3600.0  # after it ran out


class Tidy:
    """One turn looks at everything once. Several orchestrators may turn at once: the revision
    of the row they act on lets one of them order, and the lock of the object one of them act."""

    def __init__(self, config: OrchestratorConfig, store: Store, view: View) -> None:
        self.config, self.store, self.view = config, store, view
        self._idle_since: dict[tuple[str, bool], float] = {}  # networks that are up, or are not
        self._recount = Recount(store, view)

    async def turn(self, wall: float) -> None:
        """Take a turn; `wall` is the date, in seconds since 1970."""
        async for vm in gently(self.view.all(Vm)):
            if is_lost(self.view, vm):
                if not self._busy(vm.id):
                    await self._order(ReleaseVm(vm=VmId(vm.id)), vm)
            elif self._has_halted(vm):
                await self.settle(vm)
            elif (want := self._word_of(vm)) is not None:
                await self._accept(vm, want, wall)
            elif vm.want is Want.DESTROYED and self._is_due(vm, wall):
                await self._order(ExpungeVm(vm=VmId(vm.id)), vm, want=Want.GONE)
        await self._shut_idle_networks(wall)
        await self._rebuild_routers(wall)
        await self._recount.turn()
        await self._forget_jobs(wall)
        await self._forget_cancels()
        await self._forget_leases(wall)

    async def keep_running(self, wall: float) -> None:
        """Start again what is to be kept running and does not run, after a growing pause."""
        async for vm in gently(self.view.by(Vm, "host", None)):
            if not self._is_to_run(vm) or self._busy(vm.id):
                continue
            if due_again(self.view, vm.id, StartVm) <= wall:
                await self._order(StartVm(vm=VmId(vm.id), ha=True), vm, want=Want.RUNNING)

    def _is_to_run(self, vm: Vm) -> bool:
        """Tell whether it ran, its owner wants it to run, and it is to be kept running."""
        return vm.want is Want.RUNNING and vm.started and self._is_kept(vm)

    def _is_kept(self, vm: Vm) -> bool:
        return is_kept(vm, self.view.maybe(Offering, vm.offering))

    def _busy(self, id: str) -> bool:
        return is_busy(self.view, id)

    def _has_halted(self, vm: Vm) -> bool:
        """Tell whether it holds a host's capacity, does not run, and nobody is at work on it."""
        return vm.host is not None and not vm.runs and not self._busy(vm.id)

    def _word_of(self, vm: Vm) -> Want | None:
        """Return what is to be its owner's word, if no order is left that could make it so."""
        if vm.runs:
            word = Want.RUNNING
        elif vm.host is None and vm.want is Want.RUNNING and not self._is_to_run(vm):
            word = Want.STOPPED
        elif vm.host is None and vm.want is Want.GONE:
            word = Want.DESTROYED
        else:
            return None
        return None if word is vm.want or self._busy(vm.id) else word

    async def _accept(self, vm: Vm, word: Want, wall: float) -> None:
        """Want what is: the order behind its owner's word failed or was cancelled."""
        destroyed = (vm.destroyed or wall) if word is Want.DESTROYED else 0.0
        change = self.store.change()
        change.update(Vm, vm.id, revision=vm.revision, want=word, destroyed=destroyed)
        try:
            await change.commit()
        except Fault as fault:
            log.info("not settled now", id=vm.id, why=fault.message)
        else:
            log.info("machine is left as it is", vm=vm.id, wanted=vm.want, now=word)

    def _is_due(self, vm: Vm, wall: float) -> bool:
        due = vm.destroyed + self.config.expunge_seconds
        return bool(vm.destroyed) and due < wall and not self._busy(vm.id)

    async def settle(self, vm: Vm) -> None:
        """Settle a machine that halted by itself: what it held is given back, and it is Stopped.

        It starts again, if it is to be kept running.
        """
        if self._has_halted(vm) and not is_lost(self.view, vm):
            kept = vm.started and self._is_kept(vm)
            want = Want.STOPPED if vm.want is Want.RUNNING and not kept else vm.want
            await self._order(StopVm(vm=VmId(vm.id)), vm, want=want)

    async def _shut_idle_networks(self, wall: float) -> None:
        """Take back the routers of networks that had no running machines for a while."""
        self._idle_since = {
            (id, up): since
            for (id, up), since in self._idle_since.items()
            if (row := self.view.maybe(Network, id)) is not None and row.up is up
        }
        async for network in gently(self.view.all(Network)):
            so = (network.id, network.up)
            stands = network.up or network.router is not None
            if not stands or network.gone or self._in_use(network) or self._busy(network.id):
                self._idle_since.pop(so, None)
            elif wall - self._idle_since.setdefault(so, wall) > self._lingers_s(network):
                await self._order(ShutdownNetwork(network=NetworkId(network.id)), network)

    async def _rebuild_routers(self, wall: float) -> None:
        """Rebuild routers of networks that machines run in: gone with their host, or half made.

        Whoever was to build one may have been cut off on the way, in whatever moment.
        """
        async for network in gently(self.view.all(Network)):
            stands = network.up and keeps_router(self.view, network)
            if stands or self._busy(network.id) or not needs_router(self.view, network):
                continue
            if due_again(self.view, network.id, ImplementNetwork) <= wall:
                await self._order(ImplementNetwork(network=NetworkId(network.id)), network)

    def _lingers_s(self, network: Network) -> float:
        """Return how long an idle network keeps its router.

        One that does not serve is of use to nobody: whoever was to build it, as an evacuation that
        was called off, had time to go on.
        """
        gc_s = self.config.network_gc_seconds
        return gc_s if network.up else min(gc_s, HALF_MADE_S)

    def _in_use(self, network: Network) -> bool:
        nics = self.view.by(Nic, "network", network.id)
        vms = (self.view.maybe(Vm, nic.vm) for nic in nics)
        return any(vm is not None and (vm.host or self._busy(vm.id)) for vm in vms)

    async def _forget_jobs(self, wall: float) -> None:
        """Forget jobs that ended long ago; a stuck one stays until somebody looked at it."""
        old = [
            job
            for job in self.view.all(Job)
            if job.ended
            and job.ended + self.config.job_keep_seconds < wall
            and not self.view.by(Lock, "job", job.id)
        ]
        for start in range(0, len(old), BATCH):
            change = self.store.change()
            for job in old[start : start + BATCH]:
                change.delete(Job, job.id)
            await change.commit()

    async def _forget_cancels(self) -> None:
        """Forget cancels that came too late: the job had ended before they were seen."""
        change = self.store.change()
        for cancel in self.view.all(Cancel):
            job = self.view.maybe(Job, cancel.id)
            if job is None or not job.open:
                change.delete(Cancel, cancel.id)
        await change.commit()

    async def _forget_leases(self, wall: float) -> None:
        """Forget leases of orchestrators that ended long ago, and left no job open.

        Every start has its own.
        """
        for lease in self.view.all(Lease):
            name = orchestrator_in(lease.id)
            if name is None or lease.until + LEASE_KEPT_S > wall:
                continue
            if any(job.open for job in self.view.by(Job, "owner", name)):
                continue
            change = self.store.change()
            change.delete(Lease, lease.id, revision=lease.revision)
            try:
                await change.commit()
            except Fault as fault:  # somebody holds it after all
                log.info("a lease is kept", lease=lease.id, why=fault.message)

    async def _order(self, order: Order, row: Vm | Network, **columns: Want) -> None:
        """Write intent and order in one commit, as the api does; somebody faster is as good."""
        change = self.store.change()
        if columns:
            change.update(type(row), row.id, revision=row.revision, **columns)
        change.order(order, account=row.account)
        try:
            await change.commit()
        except Fault as fault:
            log.info("not ordered now", order=order.verb(), id=row.id, why=fault.message)
