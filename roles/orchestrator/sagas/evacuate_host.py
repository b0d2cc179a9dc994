"""Evacuate: machines and routers leave a host that is to be maintained, and none stops for it.

A machine that cannot be moved goes on running where it is; the host then is not in maintenance,
and says which machines those are, and why.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from csnode.clock import wall
from csnode.context import acting
from csnode.contracts.networking import Networking
from csnode.data.alarm import HOST, alarm
from csnode.faults import Conflict, Full, NotFound, Outdated, Stale
from csnode.model.fit import closed, places
from csnode.model.host import Host, Maintenance
from csnode.model.job import Cancel, Job, JobState
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.orders import EvacuateHost, MigrateVm
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.telling import guest_nic
from csnode.model.vm import Vm
from csnode.saga.saga import Saga, step
from csnode.types import HostId, NetworkId, Power, VmId
from csnode.uuids import id_of
from roles.orchestrator.lost import needs_router, order_router
from roles.orchestrator.networks import can_drop, ensure_network

ROUNDS = 3  # a machine that cannot be moved is tried so often
AT_ONCE = 4  # moves under way: each takes its share of the hosts' network
LOOK_S = 0.5


class Evacuate(Saga[EvacuateHost]):
    """Ends with the host empty and in maintenance, or with what could not leave named."""

    event = "MAINT.PREPARE"

    @step
    async def machines(self) -> None:
        """Order a job for each machine; others may be at work on it, and have their turn before."""
        for turn in range(ROUNDS):
            if not await self._move_all(turn):
                return
        left = await self._left()
        if left:
            raise Conflict("; ".join(self._why(vm) for vm in left))

    @machines.undo
    async def call_off(self) -> None:
        """Call moves off: those under way turn back, and run on where they began; the rest stay."""
        await self.view.fresh()
        for turn in range(ROUNDS):
            for vm in self.view.all(Vm):
                job = self.view.maybe(Job, self._id(vm, turn))
                if job is None or not job.open or self.view.maybe(Cancel, job.id):
                    continue
                change = self.store.change()
                change.create(Cancel(id=job.id, by="the end of maintenance", created=wall()))
                with suppress(Conflict):
                    await self.commit(change)

    @step
    async def routers(self) -> None:
        """Give guest networks their routers elsewhere; each is away for about a second."""
        for network in await self.store.find(Network, router=self.order.host):
            await self._move_router(NetworkId(network.id))
        await self._order_rest()  # an earlier try may have changed a row, and no more

    @routers.undo
    async def call_for_rest(self) -> None:
        await self._order_rest()

    async def _order_rest(self) -> None:
        """Order what was taken from here and does not stand yet: machines wait for it."""
        for network in await self._unfinished():
            change = self.store.change()
            change.update(Network, network.id, revision=network.revision)
            order_router(self.view, change, network)
            with suppress(Stale, NotFound):  # somebody is at it, or it was deleted meanwhile
                await self.commit(change)

    async def _unfinished(self) -> list[Network]:
        """Find networks in use whose router is named and does not serve."""
        await self.view.fresh()
        return [
            network
            for network in self.view.all(Network)
            if network.router not in (None, self.order.host)
            and not network.up
            and needs_router(self.view, network)
        ]

    async def succeeded(self) -> None:
        await self._conclude(Maintenance.ON)

    async def failed(self, why: str) -> None:
        host = await self._conclude(Maintenance.FAILED)
        if host is not None:
            text = f"Host {host.name} cannot go into maintenance: {why}"
            await alarm(self.store, HOST, host, "maintenance", text)

    async def _conclude(self, maintenance: Maintenance) -> Host | None:
        """Conclude, unless somebody has called the maintenance off meanwhile."""
        try:
            host = await self.store.get(Host, self.order.host)
        except NotFound:
            return None
        if host.maintenance is not Maintenance.PREPARING:
            return None
        self.change.update(Host, host.id, maintenance=maintenance)
        return host

    # -- machines --------------------------------------------------------------------------

    async def _move_all(self, turn: int) -> list[Vm]:
        """Order a move of each machine once, and wait until nothing is under way.

        Returns those that are still here.
        """
        while True:
            await self._check_wanted()
            left = await self._left()
            waiting = [vm for vm in left if self._busy(vm)]
            idle = [vm for vm in left if not self._busy(vm)]
            due = [vm for vm in idle if self._movable(vm) and not self._tried(vm, turn)]
            if not waiting and not due:
                return left
            for vm in due[: max(0, AT_ONCE - len(waiting))]:
                await self._order(vm, turn)
            await asyncio.sleep(LOOK_S)

    async def _left(self) -> list[Vm]:
        await self.view.fresh()
        here = self.order.host
        left = [vm for vm in self.view.all(Vm) if here in vm.held_by]
        return sorted(left, key=lambda vm: (vm.created, vm.id))

    async def _check_wanted(self) -> None:
        host = await self.store.get(Host, self.order.host)
        if host.maintenance is not Maintenance.PREPARING:
            raise Conflict(f"the maintenance of host {host.name} was called off")

    def _busy(self, vm: Vm) -> bool:
        return any(job.open for job in self.view.by(Job, "holds", vm.id))

    def _movable(self, vm: Vm) -> bool:
        """Tell whether it is to move: one that halted by itself gives its place back by itself."""
        return vm.power is Power.ON or vm.moving_to is not None

    def _id(self, vm: Vm, turn: int) -> str:
        """Return the id of the order of its move: ordering twice is ordering once."""
        return id_of(self.job.id, vm.id, str(turn))

    def _tried(self, vm: Vm, turn: int) -> bool:
        return self.view.maybe(Job, self._id(vm, turn)) is not None

    async def _order(self, vm: Vm, turn: int) -> None:
        change = self.store.change()
        change.order(
            MigrateVm(vm=VmId(vm.id)),
            account=vm.account,
            user=self.job.user,
            id=self._id(vm, turn),
        )
        with suppress(Conflict):  # ordered before a crash of ours
            await self.commit(change)

    def _why(self, vm: Vm) -> str:
        """Return what kept a machine here, as its last move has it."""
        for turn in reversed(range(ROUNDS)):
            job = self.view.maybe(Job, self._id(vm, turn))
            if job is not None and job.state is not JobState.DONE:
                return f"machine {vm.name} stays: {job.fault or job.state}"
        return f"machine {vm.name} stays: it is {vm.power.value} and holds its place"

    # -- routers ---------------------------------------------------------------------------

    async def _move_router(self, id: NetworkId) -> None:
        """Move the router: the row changes first; then the old one goes, the new one is built."""
        while True:
            network = await self.store.get(Network, id)
            here, there = self.order.host, self._carrier(network)
            if network.router == here:
                change = self.store.change()
                change.update(
                    Network, id, revision=network.revision, router=there, up=False
                )  # fmt: skip
                try:
                    number = await self.commit(change)
                except Stale:
                    continue
                await self._drop_router(id, number)
            if not network.gone:
                await self._build_router(id, there)
            return

    async def _build_router(self, id: NetworkId, there: HostId) -> None:
        await ensure_network(self, id, there)
        await self._tell_cards(id)

    async def _drop_router(self, id: NetworkId, number: int) -> None:
        if not await can_drop(self, Host, self.order.host, id):
            return
        with acting(fence=number), suppress(Outdated, Conflict):
            # Conflict: its bridge stays as long as a machine is plugged into it
            await self.ask(Networking, at=self.order.host).ensure_no_router(id)

    def _carrier(self, network: Network) -> HostId:
        """Choose where its router goes: where its machines are, if any are anywhere."""
        within = places(self.view.all(Cluster), self.view.all(Pod))
        fit = {
            host.id
            for host in self.view.all(Host)
            if host.zone == network.zone and host.id != self.order.host and not closed(host, within)
        }
        if not fit:
            raise Full(f"no other host can carry the router of network {network.name}")
        machines = self._machines(NetworkId(network.id))
        homes: list[str] = [vm.host for vm in machines if vm.host in fit] or sorted(fit)
        return HostId(max(homes, key=lambda host: (sum(h == host for h in homes), host)))

    def _machines(self, id: NetworkId) -> list[Vm]:
        vms = (self.view.maybe(Vm, nic.vm) for nic in self.view.by(Nic, "network", id))
        return [vm for vm in vms if vm is not None and vm.host is not None]

    async def _tell_cards(self, id: NetworkId) -> None:
        """Tell the new router at once what its sweep would tell it half a minute later.

        Without a fence, as the sweep would: the machines' own jobs may be younger than ours.
        """
        await self.view.fresh()
        network = await self.store.get(Network, id)
        if network.router is None:
            return
        router = self.ask(Networking, at=network.router)
        for nic in self.view.by(Nic, "network", id):
            vm = self.view.maybe(Vm, nic.vm)
            if vm is not None and vm.host is not None:
                offering = await self.store.get(Offering, vm.offering)
                zone = self.view.get(Zone, vm.zone)
                with acting(fence=0):
                    await router.ensure_nic(guest_nic(vm, nic, network, offering, zone))
