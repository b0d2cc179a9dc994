"""The sim driver: a pool of names, for worlds without disks.

What it holds outlives the driver, as a folder would: a role that starts again finds it. Any URL
is an image, of two GiB; one that ends in #bad fails its check. Faults can be arranged by option
or, while it runs, on the pool itself (`outside`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, TypeVar

import msgspec

from csnode.drivers.acts import Acts
from csnode.drivers.driver import Simulated
from csnode.drivers.storage import Progress, StorageDriver
from csnode.faults import Conflict, Full, Refused
from csnode.model.machine import Clone, Disk, Holdings, Image, ImageFacts, PoolFacts
from csnode.model.template import ImageFormat
from csnode.types import GIB, PoolId, Struct, TemplateId, VolumeId
from roles.storage.drivers.checksum import parse_checksum
from roles.storage.drivers.files import checked_id

T = TypeVar("T")
IMAGE = ImageFacts(size=2 * GIB, physical_size=64 << 20)
CLONE_BYTES = 192 << 10  # what a fresh linked clone takes in a folder


class SimPool(msgspec.Struct):
    """The outside: what one pool holds, and which verbs it refuses."""

    images: set[TemplateId] = msgspec.field(default_factory=set[TemplateId])
    volumes: dict[VolumeId, TemplateId | None] = msgspec.field(
        default_factory=dict[VolumeId, TemplateId | None]
    )
    aside: set[str] = msgspec.field(default_factory=set[str])
    failing: set[str] = msgspec.field(default_factory=set[str])
    fetched: int = 0  # downloads so far
    acts: Acts = msgspec.field(default_factory=Acts)

    @property
    def used(self) -> int:
        return len(self.images) * IMAGE.physical_size + len(self.volumes) * CLONE_BYTES


_pools: dict[str, SimPool] = {}


def outside(seat: str) -> SimPool:
    """Return the pool of that id, as it is outside of every role; made when first asked for."""
    return _pools.setdefault(seat, SimPool())


def forget_all() -> None:
    """Make a new world: every pool is empty."""
    _pools.clear()


class SimOptions(Struct, forbid_unknown_fields=True):
    """[storage.options] of the sim driver."""

    total_gib: int = 1000
    latency_s: float = 0.0  # of every verb; a download takes ten times that
    fail: tuple[str, ...] = ()  # verbs that are refused, for example ensure_volume


class SimStorage(StorageDriver, Simulated):
    """One simulated pool."""

    options_type: ClassVar[type[Struct]] = SimOptions
    options: SimOptions

    async def describe(self) -> PoolFacts:
        await self._act("describe")
        return PoolFacts(
            pool=PoolId(self.seat.id),
            name=self.seat.name,
            type="Filesystem",
            path=f"sim://{self.seat.name}",
            address=self.seat.address,
            total_bytes=self.options.total_gib * GIB,
            used_bytes=self._pool.used,
        )

    async def ensure_image(self, image: Image, progress: Progress) -> ImageFacts:
        checked_id(image.template)
        await self._act("ensure_image")
        if image.template not in self._pool.images:
            await self._fetch(image, progress)
        progress(100)
        return IMAGE

    async def ensure_no_image(self, template: TemplateId) -> None:
        checked_id(template)

        def act() -> None:
            if template in self._pool.volumes.values():
                raise Conflict(f"volumes of this pool are clones of template {template}")
            self._pool.images.discard(template)

        await self._carry_out("ensure_no_image", template, act)

    async def ensure_volume(self, clone: Clone, progress: Progress) -> Disk:
        checked_id(clone.volume)
        if clone.image is not None and clone.volume not in self._pool.volumes:
            self._refuse_perhaps("ensure_volume")
            await self.ensure_image(clone.image, progress)
        await self._carry_out("ensure_volume", clone.volume, lambda: self._make(clone))
        return Disk(volume=clone.volume, path=f"sim://{self.seat.name}/{clone.volume}")

    def _make(self, clone: Clone) -> None:
        if clone.volume in self._pool.volumes:
            return
        if clone.size < (IMAGE.size if clone.image else 1):
            raise Refused(f"a volume of {clone.size} bytes is too small")
        if clone.image and clone.image.template not in self._pool.images:
            raise Conflict(f"the image of template {clone.image.template} was removed again")
        self._check_room(CLONE_BYTES)
        self._pool.volumes[clone.volume] = clone.image.template if clone.image else None

    async def ensure_no_volume(self, volume: VolumeId) -> None:
        checked_id(volume)

        def act() -> None:
            self._pool.volumes.pop(volume, None)

        await self._carry_out("ensure_no_volume", volume, act)

    async def survey(self) -> Holdings:
        await self._act("survey")
        return Holdings(
            volumes=tuple(sorted(self._pool.volumes)),
            templates=tuple(sorted(self._pool.images)),
            aside=tuple(sorted(self._pool.aside)),
        )

    async def set_aside(self, id: VolumeId | TemplateId) -> None:
        checked_id(id)

        def act() -> None:
            if id in self._pool.volumes.values():
                raise Conflict(f"volumes of this pool are clones of template {id}")
            if id in self._pool.volumes or id in self._pool.images:
                self._pool.volumes.pop(VolumeId(id), None)
                self._pool.images.discard(TemplateId(id))
                self._pool.aside.add(f"{id}.{len(self._pool.aside)}")

        await self._carry_out("set_aside", id, act)

    @classmethod
    def forget_outside(cls) -> None:
        forget_all()

    @property
    def _pool(self) -> SimPool:
        return outside(self.seat.id)

    async def _act(self, verb: str) -> None:
        """Act, for looking and for downloads, which end with the process that makes them."""
        if self.options.latency_s:
            await asyncio.sleep(self.options.latency_s)
        self._refuse_perhaps(verb)

    async def _carry_out(self, verb: str, id: str, act: Callable[[], T]) -> T:
        """Ask the pool for it: it takes its time, and is done to its end."""

        def happen() -> T:
            self._refuse_perhaps(verb)
            return act()

        return await self._pool.acts.carry_out(id, self.options.latency_s, happen)

    def _refuse_perhaps(self, verb: str) -> None:
        if verb in self.options.fail or verb in self._pool.failing:
            raise Refused(f"the simulated pool was told to refuse {verb}")

    async def _fetch(self, image: Image, progress: Progress) -> None:
        parse_checksum(image.checksum)
        if image.format.upper() not in [*ImageFormat]:
            raise Refused(f"images are QCOW2 or RAW, not {image.format[:40]!r}")
        self._check_room(IMAGE.physical_size)
        for percent in range(0, 100, 10):
            progress(percent)
            if self.options.latency_s:
                await asyncio.sleep(self.options.latency_s)
        self._pool.fetched += 1
        if image.url.endswith("#bad"):
            raise Refused("wrong checksum: the simulated image is marked as bad")
        self._pool.images.add(image.template)

    def _check_room(self, size: int) -> None:
        if self._pool.used + size > self.options.total_gib * GIB:
            raise Full("the storage pool has no room")
