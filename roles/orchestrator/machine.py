"""What the sagas of a machine have in common: what to tell components, and whom to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from math import inf
from typing import Any

from msgspec.structs import replace

from csnode import uuids
from csnode.clock import now, wall
from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.faults import Conflict, Full, NotFound, Stale, Unavailable
from csnode.model.fit import Need, Places, limits, need_of, places, reach_of, reservation
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.machine import GuestNic, Plug
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.orders import PlacedOrder
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Tally, usage
from csnode.model.telling import guest_network, guest_nic
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from csnode.types import HostId, NicId, VmId, VolumeId
from roles.orchestrator.disks import PLACE_TRIES, DiskSaga, VmOrderT
from roles.orchestrator.networks import can_drop, ensure_network, is_there
from roles.orchestrator.placement import place, returning

RETURN_S = 20.0  # a restart of csnode on a host takes less, and a look at its pools
LOOK_S = 1.0
SILENT_MAX = 3  # hosts that do not answer, before one of them is taken all the same


class MachineSaga(DiskSaga[VmOrderT]):
    """Reads the machine's rows, and asks the components that hold its parts."""

    async def nics(self) -> list[Nic]:
        """Return the cards by index; eth0 first."""
        await self.view.fresh()
        return sorted(self.view.by(Nic, "vm", self.order.vm), key=lambda n: n.index)

    async def wants_again(self, vm: Vm, asked: Want, then: Want) -> None:
        """Set its owner's want, now that the order failed; unless somebody wants else since.

        An order that waits behind this one may want the same word for its own reasons: then its
        end decides.
        """
        await self.view.fresh()
        orders = self.view.by(Job, "holds", vm.id)
        followed = any(job.open and job.id != self.job.id for job in orders)
        if vm.want is asked and not followed:
            self.change.update(Vm, vm.id, revision=vm.revision, want=then)

    async def turned(self) -> None:
        """Outdate orders about the machine.

        Each host, router and pool is told that may have been asked for something of it.
        """
        vm = await self.vm()
        hosts = [*vm.may_be_on, *([vm.last_host] if vm.last_host else [])]
        asked: list[Awaitable[None]] = [
            self.ask(Compute, at=host).outdate(VmId(vm.id)) for host in dict.fromkeys(hosts)
        ]
        for nic in await self.nics():
            network = self.view.maybe(Network, nic.network)
            router = [network.router] if network and network.router else []
            places = dict.fromkeys([*hosts, *router])
            asked += [self.ask(Networking, at=h).outdate(NicId(nic.id)) for h in places]
        for volume in await self.volumes():
            if volume.pool is not None:
                asked.append(self.ask(Storage, at=volume.pool).outdate(VolumeId(volume.id)))
        await asyncio.gather(*asked, return_exceptions=True)

    # -- the host --------------------------------------------------------------------------

    async def reserve(self) -> HostId:
        """Choose a host and take its capacity, in one commit; the same host if asked again.

        The commit says too that a domain may be there from now on. A host where one may be from
        before must say first that there is none: a machine never runs twice. Raises Full if the
        hosts that the order allows have no room, Conflict if it runs on another one already.
        """
        full: frozenset[str] = frozenset()
        silent, offering = dict[str, str](), None
        for _ in range(PLACE_TRIES):
            vm = await self.vm()
            if vm.host is not None:
                return self._as_asked(vm.host)
            await self._clear(vm.maybe_on)
            offering = offering or await self.store.get(Offering, vm.offering)
            chosen = await self._choose(vm, offering, full, silent)
            unsure = chosen not in silent and len(silent) < SILENT_MAX
            if unsure and not await self._answers(chosen):
                silent[chosen] = "does not answer"
                continue
            try:
                await self._take_capacity(vm, chosen)
            except Stale:
                continue
            except (Full, NotFound):  # NotFound: the host left the cloud meanwhile
                full |= {chosen}
                continue
            return chosen
        raise Full("No host can run this machine: all that could were filled by others meanwhile")

    async def _answers(self, host: HostId) -> bool:
        """Tell whether its hypervisor can be asked at all.

        One that hangs would keep the machine for as long as it does, so it is taken only if there
        is no other.
        """
        try:
            await self.ask(Compute, at=host).describe()
        except Unavailable:
            return False
        return True

    async def _choose(
        self, vm: Vm, offering: Offering, full: frozenset[str], silent: Mapping[str, str]
    ) -> HostId:
        """Choose a host that answers, or else one that does not.

        It waits for one where csnode restarts, or what serves its pools.
        """
        volumes, until = await self.volumes(), now() + RETURN_S
        reached = self.reach([v.pool for v in volumes if v.pool is not None])
        need = need_of(vm, offering, reached, full)
        while True:
            lacks = await self._lacking(volumes)
            try:
                return self.placed(replace(need, lacks=lacks | dict(silent)))
            except Full:
                if silent:
                    return self.placed(replace(need, lacks=lacks))
                if now() >= until or not await self._is_returning(need, volumes):
                    raise
            await asyncio.sleep(LOOK_S)
            await self.view.fresh()

    async def _lacking(self, volumes: Sequence[Volume], back: float = inf) -> dict[str, str]:
        """Return the hosts whose pools cannot take a disk that is in none yet, and why.

        Nor could they if the pools were up that went away at `back` or later.
        """
        lacks = self._passed(Host)
        for volume in volumes:
            if volume.pool is not None:
                continue
            for host in [host for host in self._allowed() if host.id not in lacks]:
                try:
                    await self.pool_for(HostId(host.id), volume, back=back)
                except Full as full:
                    lacks[host.id] = full.message
        return lacks

    def placed(self, need: Need) -> HostId:
        """Place it on a host that the order allows. Raises Full, with a reason for each."""
        return place(need, *self._candidates(), uuids.source)

    async def _is_returning(self, need: Need, volumes: Sequence[Volume]) -> bool:
        """Tell whether a host or pools that went away lately would take it if they were up."""
        lately = wall() - RETURN_S
        whole = replace(need, lacks=await self._lacking(volumes, back=0.0))
        if returning(whole, *self._candidates(), lately):
            return True
        try:
            self.placed(replace(need, lacks=await self._lacking(volumes, back=lately)))
        except Full:
            return False
        return True

    def _candidates(self) -> tuple[list[Host], Places, dict[str, Mapping[str, int]]]:
        """Return the hosts that the order allows, what they are in, and what is taken of each."""
        view, hosts = self.view, self._allowed()
        within = places(view.all(Cluster), view.all(Pod))
        return hosts, within, {h.id: usage(view.maybe(Tally, h.id)) for h in hosts}

    def _allowed(self) -> list[Host]:
        """Return the hosts that the order leaves to choose from."""
        hosts = self.view.all(Host)
        for column, wanted in self._asked_for():
            hosts = [host for host in hosts if getattr(host, column) == wanted]
        return hosts

    def _asked_for(self) -> list[tuple[str, str]]:
        """Return the columns of a host, and what the order wants of them."""
        order = self.order
        if not isinstance(order, PlacedOrder):
            return []
        asked = (("id", order.host), ("cluster", order.cluster), ("pod", order.pod))
        return [(column, wanted) for column, wanted in asked if wanted is not None]

    def _as_asked(self, at: HostId) -> HostId:
        """Return where the machine is already. Raises Conflict if the order wants it elsewhere."""
        allowed = self._allowed()
        if not self._asked_for() or any(host.id == at for host in allowed):
            return at
        there = self.view.maybe(Host, at)
        names = ", ".join(sorted(host.name for host in allowed)) or "a host that is gone"
        raise Conflict(f"The machine runs on {there.name if there else at} already, not on {names}")

    def reach(self, pools: Sequence[str]) -> frozenset[str]:
        """Find the hosts that reach all of these pools, or some pool if there are none."""
        return reach_of(list(self.view.all(StoragePool)), pools)

    async def _take_capacity(self, vm: Vm, host: HostId) -> None:
        await self.count_at(vm, host, host=host, maybe_on=(host,))

    async def count_at(self, vm: Vm, at: HostId, **columns: Any) -> None:
        """Take the host's capacity, and write columns of the machine, in one commit.

        Raises Full if there is not enough left, Stale if the machine's row has moved on.
        """
        row = self.view.get(Host, at)
        limit = limits(row, self.view.maybe(Cluster, row.cluster))
        change = self.store.change()
        change.update(Vm, vm.id, revision=vm.revision, **columns)
        change.count(at, reservation(vm), limit)
        await self.commit(change)

    async def release(self, **columns: Any) -> None:
        """Give the host's capacity back, if any is held; other columns of the machine with it.

        In the commit that ends the step, never before: one that lost the job, and wakes up after
        the machine was started again, must not free what the machine now holds.
        """
        try:
            vm = await self.vm()
        except NotFound:
            return
        if vm.host is not None:
            columns |= {"host": None, "last_host": vm.host, "moving_to": None}
            for host in vm.held_by:
                self.change.uncount(host, reservation(vm))
        if columns:
            self.change.update(Vm, vm.id, **columns)

    async def unreserve(self) -> None:
        """Undo `reserve`. Either the host was never told to run the machine, or the undo of that
        had its word that it does not: no domain is there."""
        vm = await self.vm()
        if vm.host is not None:
            await self.release(maybe_on=())

    async def host_of(self, vm: Vm) -> HostId | None:
        """Return the host that holds the machine, or held it last; None if that is gone."""
        host = vm.host or vm.last_host
        return host if host is not None and await is_there(self, Host, host) else None

    # -- networks --------------------------------------------------------------------------

    async def ensure_networks(self, host: HostId) -> None:
        """Give every network of the machine its router; a new one stands on the machine's host."""
        for nic in await self.nics():
            await ensure_network(self, nic.network, host)

    async def ensure_leases(self) -> None:
        """Give every card its address and metadata at its network's router."""
        vm = await self.vm()
        nics = await self.nics()
        for nic in nics:
            network = await self.store.get(Network, nic.network)
            if network.router is None and vm.host:  # shut down between two steps of ours
                await ensure_network(self, nic.network, vm.host)
                network = await self.store.get(Network, nic.network)
            if network.router is None:
                raise Conflict(f"network {network.name} has no router")
            told = await self.guest_nic(vm, nic, network)
            await self.ask(Networking, at=network.router).ensure_nic(told)

    async def drop_leases(self) -> None:
        """Take the machine's cards from all routers."""
        for nic in await self.nics():
            try:
                network = await self.store.get(Network, nic.network)
            except NotFound:  # older versions let networks go while machines came to them
                continue
            if network.router is None:
                continue
            if await can_drop(self, Host, network.router, nic.id):
                router = self.ask(Networking, at=network.router)
                await router.ensure_no_nic(nic.network, NicId(nic.id))

    async def ensure_plugs(self, host: HostId) -> tuple[Plug, ...]:
        """Return what the machine's cards are plugged into, on its host, made ready there."""
        vm = await self.vm()
        plugs: list[Plug] = []
        for nic in await self.nics():
            network = await self.store.get(Network, nic.network)
            told = guest_network(network, self.view.get(Zone, network.zone))
            card = await self.guest_nic(vm, nic, network)
            plugs.append(await self.ask(Networking, at=host).ensure_plug(told, card))
        return tuple(plugs)

    async def guest_nic(self, vm: Vm, nic: Nic, network: Network) -> GuestNic:
        """Return the card's place, and what its metadata says (the names are CloudStack's)."""
        offering = await self.store.get(Offering, vm.offering)
        return guest_nic(vm, nic, network, offering, self.view.get(Zone, vm.zone))

    # -- power -----------------------------------------------------------------------------

    async def drop_domain(self) -> None:
        """Drop the machine from all hosts: each that may have a domain of it says it has none.

        The machine's `maybe_on` is emptied with the step's record, so one that cannot be asked
        stays in it, and what the machine took stays taken.
        """
        vm = await self.vm()
        await self._clear({*vm.maybe_on, vm.host, vm.last_host})
        if vm.maybe_on:
            self.change.update(Vm, vm.id, maybe_on=())

    async def _clear(self, hosts: Iterable[HostId | None]) -> None:
        """Have every host still of the cloud drop the machine's domain; all are asked at once.

        Raises what the first of them answered that could not say so, once all have answered.
        """
        vm, each = self.order.vm, sorted(filter(None, hosts))
        there = [host for host in each if await can_drop(self, Host, host, vm)]
        asked = [self.ask(Compute, at=host).ensure_absent(vm) for host in there]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer
