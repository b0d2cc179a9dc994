"""The storage interface: images and volumes in one pool.

Every verb is idempotent, and makes a thing whole or not at all: a half-fetched image or a
half-made volume is never found under its own name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from csnode.drivers.driver import Driver
from csnode.model.machine import Clone, Disk, Holdings, Image, ImageFacts, PoolFacts
from csnode.types import TemplateId, VolumeId

Progress = Callable[[int], None]
"""Told the percentage (0..100) of a download now and then."""


class StorageDriver(Driver):
    """What every storage driver can do."""

    @abstractmethod
    async def describe(self) -> PoolFacts:
        """Return what the pool is, how large and how full."""

    @abstractmethod
    async def ensure_image(self, image: Image, progress: Progress) -> ImageFacts:
        """Fetch the image unless it is here, and check it.

        Raises Refused for a wrong checksum, a wrong format, a backing or data file, a snapshot
        table; Unavailable if the source does not answer; Full if the pool has no room.
        """

    def waits(self, template: TemplateId) -> str:  # noqa: ARG002
        """Say whom the download of the template waits for; "" if it does not wait for its turn."""
        return ""

    @abstractmethod
    async def ensure_no_image(self, template: TemplateId) -> None:
        """Remove the image; an absent one is fine. Conflict while a volume is a clone of it."""

    @abstractmethod
    async def ensure_volume(self, clone: Clone, progress: Progress) -> Disk:
        """Make the volume unless it is here, fetching its image first if need be."""

    @abstractmethod
    async def ensure_no_volume(self, volume: VolumeId) -> None:
        """Remove the volume; an absent one is fine."""

    @abstractmethod
    async def survey(self) -> Holdings:
        """Find everything of csnode's in the pool."""

    @abstractmethod
    async def set_aside(self, id: VolumeId | TemplateId) -> None:
        """Take a volume or an image that nobody knows out of use without losing its bytes.

        It moves to a quarantine within the pool, is no longer surveyed but named in
        `Holdings.aside`, and stays until an operator removes it. An absent one is fine; Conflict
        if it is an image that volumes are clones of.
        """
