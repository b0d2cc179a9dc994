"""One download for everybody who wants the image."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from csnode.drivers.storage import Progress
from csnode.faults import Conflict, Fault, Unavailable
from csnode.model.machine import ImageFacts
from csnode.types import TemplateId

Start = Callable[[Progress], Coroutine[Any, Any, ImageFacts]]


class Fetch:
    """A download under way: how far it is, and how many wait for it."""

    def __init__(self, start: Start) -> None:
        self.percent = 0
        self.waiting = 0
        self.stopped: Fault = Unavailable("the download was stopped")
        self.task = asyncio.ensure_future(start(self._note))

    def _note(self, percent: int) -> None:
        self.percent = percent


class Fetches:
    """Downloads under way, by template. The last one to stop waiting ends the download."""

    def __init__(self) -> None:
        self._under_way: dict[TemplateId, Fetch] = {}

    @asynccontextmanager
    async def joined(self, template: TemplateId, start: Start) -> AsyncGenerator[Fetch]:
        """Yield the download of that template, begun if there is none."""
        fetch = self._under_way.get(template)
        if fetch is None:
            fetch = self._under_way[template] = Fetch(start)
            fetch.task.add_done_callback(lambda _: self._ended(template, fetch))
        fetch.waiting += 1
        try:
            yield fetch
        finally:
            fetch.waiting -= 1
            if not fetch.waiting and not fetch.task.done():
                await self._end(template, fetch)

    async def stop(self, template: TemplateId) -> None:
        """End the download, if there is one; those who wait for it get a Conflict."""
        if fetch := self._under_way.get(template):
            fetch.stopped = Conflict("the image is not wanted any more: its template was deleted")
            await self._end(template, fetch)

    async def close(self) -> None:
        """End every download: Unavailable, for another process may go on with it."""
        for template, fetch in tuple(self._under_way.items()):
            fetch.stopped = Unavailable("the storage role is closing")
            await self._end(template, fetch)

    def _ended(self, template: TemplateId, fetch: Fetch) -> None:
        self._forget(template, fetch)
        if not fetch.task.cancelled():
            fetch.task.exception()  # seen, also when nobody waits any more

    def _forget(self, template: TemplateId, fetch: Fetch) -> None:
        if self._under_way.get(template) is fetch:
            del self._under_way[template]

    async def _end(self, template: TemplateId, fetch: Fetch) -> None:
        self._forget(template, fetch)  # who comes now begins a download of his own
        fetch.task.cancel()
        await asyncio.wait((fetch.task,))


async def result(fetch: Fetch) -> ImageFacts:
    """Return what the download ended with; raise the fault that says why, if it was stopped."""
    await asyncio.wait((fetch.task,))
    with suppress(asyncio.CancelledError):
        return fetch.task.result()
    raise fetch.stopped
