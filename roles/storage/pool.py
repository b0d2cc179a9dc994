"""One pool: Storage as it is served, around a driver that knows only how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from csnode.clock import now
from csnode.context import Fences, current
from csnode.contracts.storage import Storage
from csnode.data.store import Store
from csnode.drivers.storage import Progress, StorageDriver
from csnode.faults import Fault, NotFound, Outdated
from csnode.log import logger
from csnode.model.machine import Clone, Disk, Holdings, Image, ImageFacts, PoolFacts
from csnode.model.template import Template
from csnode.model.volume import Volume
from csnode.types import PoolId, TemplateId, VolumeId
from roles.storage.fetching import Fetch, Fetches, result

TELL_EVERY_S = 0.5
FRESH_S = 3.0
log = logger("storage")


class PoolStorage(Storage):
    """Serialises what is asked about one volume or template, and lets downloads be shared.

    A late order is refused by its fence, also one that grew late while it waited its turn.
    """

    def __init__(self, driver: StorageDriver, store: Store) -> None:
        self.id, self.driver = PoolId(driver.seat.id), driver
        self._store = store
        self._fences = Fences()
        self._fetches = Fetches()
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def close(self) -> None:
        """End the downloads; whoever wants them asks again."""
        await self._fetches.close()

    # -- the contract --------------------------------------------------------------------------

    async def describe(self) -> PoolFacts:
        return await self.driver.describe()

    async def ensure_image(self, image: Image) -> ImageFacts:
        self._fences.check(image.template)
        async with self._fetching(image) as fetch:
            await self._tell_until_done(fetch, image.template)
            return await result(fetch)

    async def ensure_no_image(self, template: TemplateId) -> None:
        self._fences.check(template)
        await self._fetches.stop(template)
        async with self.turn(template):
            await self.driver.ensure_no_image(template)

    async def ensure_volume(self, clone: Clone) -> Disk:
        self._fences.check(clone.volume)
        if clone.image is not None:  # outside of the turn: a download may take an hour
            async with self._fetching(clone.image) as fetch:
                await result(fetch)
        async with self.turn(clone.volume):
            return await self.driver.ensure_volume(clone, _nobody)

    async def ensure_no_volume(self, volume: VolumeId) -> None:
        self._fences.check(volume)
        async with self.turn(volume):
            await self._check_unwanted(volume)
            await self.driver.ensure_no_volume(volume)

    async def outdate(self, id: VolumeId | TemplateId) -> None:
        """Outdate orders at once.

        What waits for its turn, or for a download, is refused when it comes.
        """
        self._fences.check(id)

    async def survey(self) -> Holdings:
        return await self.driver.survey()

    async def set_aside(self, id: VolumeId | TemplateId) -> None:
        self._fences.check(id)
        async with self.turn(id):
            await self._check_unwanted(VolumeId(id))
            await self.driver.set_aside(id)

    # -- turns ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, id: str) -> AsyncGenerator[None]:
        """Take a turn alone with the object; the fence is checked once more when the turn comes."""
        lock, users = self._turns.get(id, (asyncio.Lock(), 0))
        self._turns[id] = lock, users + 1
        try:
            async with lock:
                self._fences.check(id)
                yield
        finally:
            lock, users = self._turns.pop(id)
            if users > 1:
                self._turns[id] = lock, users - 1

    async def _check_unwanted(self, volume: VolumeId) -> None:
        """Raise Outdated if a later order had its bytes made, through whichever host.

        Other hosts may serve this pool, and a start of ours forgets what was asked before it: the
        row does not. An answer that took long says nothing of now: we may have slept meanwhile.
        """
        fence = current().fence
        while fence:
            began = now()
            try:
                row = await self._store.get(Volume, volume)
            except NotFound:
                return
            if row.fence > fence:
                raise Outdated(f"the order for {volume} is out of date")
            if now() - began <= FRESH_S:
                return

    # -- downloads -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _fetching(self, image: Image) -> AsyncGenerator[Fetch]:
        async def start(progress: Progress) -> ImageFacts:
            return await self.driver.ensure_image(image, progress)

        async with self._fetches.joined(image.template, start) as fetch:
            yield fetch

    async def _tell_until_done(self, fetch: Fetch, template: TemplateId) -> None:
        """Write at most twice a second how far it is and whom it waits for; 100 when the image is
        in place.
        """
        told: dict[str, Any] = {"waits": ""}
        while not fetch.task.done():
            fresh = {"percent": min(99, fetch.percent), "waits": self.driver.waits(template)}
            await self._tell(template, told, fresh)
            await _wait_for(fetch, TELL_EVERY_S)
        if not fetch.task.cancelled() and fetch.task.exception() is None:
            await self._tell(template, told, {"percent": 100, "waits": ""})

    async def _tell(self, template: TemplateId, told: dict[str, Any], now: dict[str, Any]) -> None:
        """Write what is new; `told` is what was written before, and is brought up to date."""
        new = {column: value for column, value in now.items() if told.get(column) != value}
        told.update(now)
        if not new:
            return
        try:
            await self._store.observe(Template, template, **new)
        except NotFound:
            pass  # fetched for a row that is gone by now, or by hand
        except Fault as fault:
            log.info("the progress could not be written", template=template, why=fault.message)


async def _wait_for(fetch: Fetch, seconds: float) -> None:
    await asyncio.wait((fetch.task,), timeout=seconds)


def _nobody(percent: int) -> None:
    """Ignore progress that no row shows: the fact is about the template's own download."""
    del percent
