"""What the sagas of a machine have in common: what to tell components, and whom to ask."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

from csnode import uuids
from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.faults import Conflict, Full, Gone, NotFound, Stale
from csnode.model.host import Host, StoragePool
from csnode.model.machine import Clone, Disk, Domain, GuestNic, Plug
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.orders import VmOrder
from csnode.model.place import Cluster, Zone
from csnode.model.stock import Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.saga import Saga
from csnode.types import HostId, NicId, PoolId, VmId, VolumeId
from roles.orchestrator.networks import ensure_network, guest_network, image_of
from roles.orchestrator.placement import Need, limits, place

PLACE_TRIES = 8


VmOrderT = TypeVar("VmOrderT", bound=VmOrder)


class MachineSaga(Saga[VmOrderT]):
    """Reads the machine's rows, and asks the components that hold its parts."""

    async def vm(self) -> Vm:
        return await self.store.get(Vm, self.order.vm)

    async def volumes(self) -> list[Volume]:
        """By device number; the root disk first."""
        await self.view.fresh()
        return sorted(self.view.by(Volume, "vm", self.order.vm), key=lambda v: v.device)

    async def nics(self) -> list[Nic]:
        """By index; eth0 first."""
        await self.view.fresh()
        return sorted(self.view.by(Nic, "vm", self.order.vm), key=lambda n: n.index)

    # -- the host --------------------------------------------------------------------------

    async def reserve(self) -> HostId:
        """Choose a host and take its capacity, in one commit; the same host if asked again."""
        full: frozenset[str] = frozenset()
        volumes = await self.volumes()
        offering = None
        for _ in range(PLACE_TRIES):
            vm = await self.vm()
            if vm.host is not None:
                return vm.host
            offering = offering or await self.store.get(Offering, vm.offering)
            chosen = self._choose(vm, volumes, offering, full)
            try:
                await self._take_capacity(vm, chosen)
            except Stale:
                continue
            except Full:
                full |= {chosen}
                continue
            return chosen
        raise Full("No host can run this machine: all that could were filled by others meanwhile")

    def _choose(
        self, vm: Vm, volumes: Sequence[Volume], offering: Offering, full: frozenset[str]
    ) -> HostId:
        need = Need(
            zone=vm.zone,
            cpus=vm.cpus,
            memory_mib=vm.memory_mib,
            cpu_mhz=vm.cpu_mhz,
            tags=offering.host_tags,
            only=self._reach(volumes),
            avoid=full,
        )
        view = self.view
        clusters = {c.id: c for c in view.all(Cluster)}
        used = {t.id: t.used for t in (view.maybe(Tally, h.id) for h in view.all(Host)) if t}
        return place(need, view.all(Host), clusters, used, uuids.source)

    def _reach(self, volumes: Sequence[Volume]) -> frozenset[str]:
        """Hosts that reach every pool the volumes are on, or some pool if they are on none yet."""
        pools = [p for p in self.view.all(StoragePool) if p.enabled]
        hosts = {h.id for h in self.view.all(Host)}
        reach: dict[str, set[str]] = {p.id: {p.host} if p.host else hosts for p in pools}
        placed = [v.pool for v in volumes if v.pool is not None]
        if placed:
            return frozenset(h for h in hosts if all(h in reach.get(p, ()) for p in placed))
        return frozenset(h for h in hosts if any(h in reached for reached in reach.values()))

    async def _take_capacity(self, vm: Vm, host: HostId) -> None:
        row = self.view.get(Host, host)
        limit = limits(row, self.view.maybe(Cluster, row.cluster))
        change = self.store.change()
        change.update(Vm, vm.id, revision=vm.revision, host=host)
        change.count(host, {"cpu": vm.cpus, "memory": vm.memory_mib, "vm": 1}, limit)
        await change.commit()

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
            columns |= {"host": None, "last_host": vm.host}
            self.change.count(vm.host, {"cpu": -vm.cpus, "memory": -vm.memory_mib, "vm": -1})
        if columns:
            self.change.update(Vm, vm.id, **columns)

    async def host_of(self, vm: Vm) -> HostId | None:
        """The host that holds the machine, or held it last; None if it never had one.

        Raises Gone if that host was removed from the cloud: whatever it held went with it.
        """
        host = vm.host or vm.last_host
        if host is None:
            return None
        try:
            await self.store.get(Host, host)
        except NotFound as gone:
            raise Gone(f"host {host} is no longer part of the cloud") from gone
        return host

    # -- disks -----------------------------------------------------------------------------

    def pool_for(self, host: HostId) -> PoolId:
        """The pool with most room that the host reaches."""
        pools = [
            p
            for p in self.view.all(StoragePool)
            if p.enabled and p.up and (p.host is None or p.host == host)
        ]
        if not pools:
            raise Full(f"No storage pool is up that host {host} reaches")
        return PoolId(max(pools, key=lambda p: (p.total_bytes - p.used_bytes, p.id)).id)

    async def ensure_disks(self, host: HostId) -> tuple[Disk, ...]:
        """Every volume of the machine is there; one that has no pool yet gets one."""
        disks: list[Disk] = []
        for volume in await self.volumes():
            pool = volume.pool or self.pool_for(host)
            if volume.pool is None:
                await self.store.observe(Volume, volume.id, pool=pool)
            disk = await self.ask(Storage, at=pool).ensure_volume(await self._clone(volume))
            if not volume.ready:
                self.change.update(Volume, volume.id, ready=True)
            disks.append(
                Disk(volume=disk.volume, path=disk.path, format=disk.format, device=volume.device)
            )
        return tuple(disks)

    async def _clone(self, volume: Volume) -> Clone:
        image = None
        if volume.template is not None:
            image = image_of(await self.store.get(Template, volume.template))
        return Clone(volume=VolumeId(volume.id), size=volume.size, image=image)

    async def drop_disks(self) -> None:
        """The bytes go; the records stay, without a pool."""
        for volume in await self.volumes():
            if volume.pool is not None:
                await self.ask(Storage, at=volume.pool).ensure_no_volume(VolumeId(volume.id))
                self.change.update(Volume, volume.id, pool=None, ready=False)

    # -- networks --------------------------------------------------------------------------

    async def ensure_networks(self, host: HostId) -> None:
        """Every network of the machine has its router; a new one stands on the machine's host."""
        for nic in await self.nics():
            await ensure_network(self, nic.network, host)

    async def ensure_leases(self) -> None:
        """Every card has its address and metadata at its network's router."""
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
        """No router knows the machine's cards."""
        for nic in await self.nics():
            network = await self.store.get(Network, nic.network)
            if network.router is not None:
                router = self.ask(Networking, at=network.router)
                await router.ensure_no_nic(nic.network, NicId(nic.id))

    async def ensure_plugs(self, host: HostId) -> tuple[Plug, ...]:
        """What the machine's cards are plugged into, on its host."""
        vm = await self.vm()
        plugs: list[Plug] = []
        for nic in await self.nics():
            network = await self.store.get(Network, nic.network)
            told = guest_network(network, self.view.get(Zone, network.zone))
            card = await self.guest_nic(vm, nic, network)
            plugs.append(await self.ask(Networking, at=host).ensure_plug(told, card))
        return tuple(plugs)

    async def guest_nic(self, vm: Vm, nic: Nic, network: Network) -> GuestNic:
        """The card's place, and what its metadata says (the names are CloudStack's)."""
        offering = await self.store.get(Offering, vm.offering)
        zone = self.view.get(Zone, vm.zone)
        return GuestNic(
            nic=NicId(nic.id),
            network=nic.network,
            vm=nic.vm,
            mac=nic.mac,
            address=nic.address,
            hostname=vm.name,
            metadata={
                "instance-id": vm.id,
                "vm-id": vm.id,
                "local-hostname": vm.name,
                "local-ipv4": nic.address,
                "public-ipv4": network.public_address,
                "public-hostname": network.public_address,
                "public-keys": vm.public_key,
                "service-offering": offering.name,
                "availability-zone": zone.name,
            },
            user_data=_user_data(vm.user_data),
        )

    # -- power -----------------------------------------------------------------------------

    def domain_of(self, vm: Vm, disks: Sequence[Disk], plugs: Sequence[Plug]) -> Domain:
        """What the host is told to run."""
        return Domain(
            vm=VmId(vm.id),
            name=vm.instance_name,
            title=vm.display_name or vm.name,
            cpus=vm.cpus,
            cpu_mhz=vm.cpu_mhz,
            memory_mib=vm.memory_mib,
            disks=tuple(disks),
            plugs=tuple(plugs),
        )

    async def drop_domain(self) -> None:
        """No host runs or knows the machine."""
        vm = await self.vm()
        host = await self.host_of(vm)
        if host is not None:
            await self.ask(Compute, at=host).ensure_absent(self.order.vm)


def _user_data(text: str) -> bytes:
    """Callers send it in Base64, some without padding; what is no Base64 goes as it is."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return text.encode()
