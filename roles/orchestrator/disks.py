"""The disks of a machine: in which pools they are, and how they come and go."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, TypeVar

from msgspec.structs import replace

from csnode.context import current
from csnode.contracts.storage import Storage
from csnode.data.change import Change
from csnode.faults import Full, NotFound
from csnode.model.fit import reaches
from csnode.model.host import Host, StoragePool
from csnode.model.machine import Clone, Disk
from csnode.model.offering import DiskOffering, Offering
from csnode.model.orders import VmOrder
from csnode.model.room import BYTES, bytes_promised, room_of
from csnode.model.stock import Tally
from csnode.model.telling import image_of
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.saga import Saga
from csnode.types import HostId, PoolId, VolumeId
from roles.orchestrator.networks import can_drop
from roles.orchestrator.placement import choose_pool

PLACE_TRIES = 8

VmOrderT = TypeVar("VmOrderT", bound=VmOrder)


class DiskSaga(Saga[VmOrderT]):
    """Reads the rows of a machine's disks, and asks the pools that hold them."""

    pool_at_work: PoolId | None = None  # that makes a disk which is not there yet

    async def vm(self) -> Vm:
        return await self.store.get(Vm, self.order.vm)

    async def volumes(self) -> list[Volume]:
        """Return the volumes by device number; the root disk first."""
        await self.view.fresh()
        return sorted(self.view.by(Volume, "vm", self.order.vm), key=lambda v: v.device)

    def _passed(self, kind: type[Host | StoragePool]) -> dict[str, str]:
        """Return the hosts or pools at which this job has failed already, and how."""
        tried = self.job.tried
        return {t.id: f"was tried: {t.why}" for t in tried if self.view.maybe(kind, t.id)}

    async def pool_for(
        self,
        host: HostId,
        volume: Volume,
        passed: Mapping[str, str] | None = None,
        back: float = inf,
    ) -> PoolId:
        """Choose a pool that the host reaches, with room for the volume and the tags it asks for.

        One that went away at `back` or later counts as up. Raises Full, with a reason for each.
        """
        pools = [pool for pool in self.view.all(StoragePool) if reaches(pool, host)]
        pools = [replace(p, up=p.up or p.away_since >= back) for p in pools]
        used = {p.id: bytes_promised(self.view.maybe(Tally, p.id)) for p in pools}
        passed = {**self._passed(StoragePool), **(passed or {})}
        return choose_pool(pools, volume.size, await self._tags_of(volume), used, passed)

    async def _tags_of(self, volume: Volume) -> tuple[str, ...]:
        """Return the storage tags of what the volume was made from."""
        if volume.disk_offering is not None:
            return (await self.store.get(DiskOffering, volume.disk_offering)).tags
        offering = self.view.maybe(Offering, volume.offering)
        return offering.tags if offering is not None else ()

    def want(self, change: Change, volume: Volume, **columns: Any) -> None:
        """Want the disk: with the change, earlier orders may drop none of its bytes any more."""
        change.update(Volume, volume.id, fence=max(volume.fence, current().fence), **columns)

    def promise(self, change: Change, volume: Volume, pool: PoolId) -> None:
        """Promise the bytes: with the change, they are the pool's to give.

        Raises Full; NotFound if the pool left.
        """
        room = room_of(self.view.get(StoragePool, pool))
        change.update(StoragePool, pool)  # no column: only a proof that it is there
        change.count(pool, {BYTES: volume.size}, {BYTES: room})

    async def _pooled(self, volume: Volume, host: HostId) -> PoolId:
        """Choose a pool for a new volume and take its room, in one commit."""
        passed: dict[str, str] = {}
        for _ in range(PLACE_TRIES):
            pool = await self.pool_for(host, volume, passed)
            change = self.store.change()
            self.want(change, volume, revision=volume.revision, pool=pool)
            try:
                self.promise(change, volume, pool)
                await self.commit(change)
            except (Full, NotFound):  # NotFound: the pool left the cloud meanwhile
                passed[pool] = "was filled by others, or left, meanwhile"
            else:
                return pool
        raise Full("No storage pool can take the disk: all that could were filled meanwhile")

    async def ensure_disks(self, host: HostId) -> tuple[Disk, ...]:
        """Make every volume of the machine; one that has no pool yet gets one."""
        disks: list[Disk] = []
        for volume in await self.volumes():
            self.pool_at_work = None
            pool = volume.pool or await self._pooled(volume, host)
            if volume.pool is not None and not volume.ready:
                await self._wanted_again(volume)
            self.pool_at_work = None if volume.ready else pool
            disk = await self.ask(Storage, at=pool).ensure_volume(await self.clone_of(volume))
            if not volume.ready:
                self.change.update(Volume, volume.id, ready=True)
            disks.append(self.disk_of(volume, disk, pool))
        return tuple(disks)

    async def _wanted_again(self, volume: Volume) -> None:
        """Say so in its row before its bytes are made: who began to drop them may not go on."""
        if volume.fence < current().fence:
            change = self.store.change()
            self.want(change, volume, revision=volume.revision)
            await self.commit(change)

    def disk_of(self, volume: Volume, made: Disk, pool: PoolId) -> Disk:
        """Describe a disk as a domain has it; `made` is what the pool answered."""
        row = self.view.maybe(StoragePool, pool)
        shared = row is not None and row.host is None
        return replace(made, device=volume.device, shared=shared)

    async def clone_of(self, volume: Volume) -> Clone:
        image = None
        if volume.template is not None:
            image = image_of(await self.store.get(Template, volume.template))
        return Clone(volume=VolumeId(volume.id), size=volume.size, image=image)

    async def drop_disks(self) -> None:
        """Drop the bytes; their pools have the room again.

        The records stay, without a pool. None is ready once one may be gone.
        """
        volumes, change = await self.volumes(), self.store.change()
        for volume in volumes:
            if volume.ready:
                change.update(Volume, volume.id, ready=False)
        if change.items:
            await self.commit(change)
        for volume in volumes:
            if volume.pool is not None:
                if await can_drop(self, StoragePool, volume.pool, volume.id):
                    await self.ask(Storage, at=volume.pool).ensure_no_volume(VolumeId(volume.id))
                self.change.update(Volume, volume.id, pool=None, ready=False)
                self.change.count(volume.pool, {BYTES: -volume.size})
