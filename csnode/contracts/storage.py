"""What may be asked of the storage role; always at one pool."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers, within
from csnode.context import CONTROLLING
from csnode.model.machine import Clone, Disk, Holdings, Image, ImageFacts, PoolFacts
from csnode.types import TemplateId, VolumeId


@callers("orchestrator")
class Storage(Service, Protocol):
    """Images and volumes of one pool. Every verb is idempotent; see csnode.drivers.storage."""

    @callers(*CONTROLLING)
    async def describe(self) -> PoolFacts:
        """Return what the pool is, how large and how full."""
        ...

    @within(seconds=3600)
    async def ensure_image(self, image: Image) -> ImageFacts:
        """Fetch the image unless it is here, and check it; writes the fact template.percent."""
        ...

    @within(seconds=60)
    async def ensure_no_image(self, template: TemplateId) -> None:
        """Remove the image. Raises Conflict while a volume is a clone of it."""
        ...

    @within(seconds=3600)
    async def ensure_volume(self, clone: Clone) -> Disk:
        """Make the volume unless it is here, fetching its image first if need be."""
        ...

    @within(seconds=60)
    async def ensure_no_volume(self, volume: VolumeId) -> None:
        """Remove the volume."""
        ...

    @within(seconds=60)
    async def set_aside(self, id: VolumeId | TemplateId) -> None:
        """Take a volume or an image that nobody knows out of use; its bytes stay in the pool."""
        ...

    @within(seconds=5)
    async def outdate(self, id: VolumeId | TemplateId) -> None:
        """Refuse from now on orders about a volume or an image given before this one."""
        ...

    @callers(*CONTROLLING)
    async def survey(self) -> Holdings:
        """Find everything in the pool."""
        ...
