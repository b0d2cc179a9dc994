"""Keeps a replica up with the data service: by events, and by the feed where they say too little.

Events are only hints: a gap in the numbers, or a head beyond ours, makes the follower ask the feed.
Where no event comes at all, it looks by itself every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from csnode import metrics
from csnode.bus.bus import Bus
from csnode.bus.event import Changed, Heads
from csnode.data.feed_reader import FeedReader
from csnode.data.position import Numbers, Position
from csnode.data.replica import RowWriter
from csnode.faults import Fault
from csnode.log import logger

log = logger("view")
EVENTS_S = 0.2  # how long to wait for events that are due, before the feed is asked
QUIET_S = 3.0  # after so long without any event the follower looks by itself
SURE = 10  # and every so many times in any case


class Follower:
    """Hears events for a replica from `open` until `close`. A view makes one."""

    def __init__(self, bus: Bus, rows: RowWriter, position: Position, reader: FeedReader) -> None:
        self._bus, self._rows, self._position, self._reader = bus, rows, position, reader
        self._parts: dict[int, dict[str, Changed]] = {}  # by batch: heard, and not all of it
        self._held: list[Changed] = []  # heard while the feed is read
        self._replay: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._own = copy_context()
        self._heard = False  # any event since the last look
        self._deaf = False  # the last events that were due did not come
        self._closed = False

    async def open(self) -> None:
        """Read everything, then follow. Raises Unavailable while the data service is away."""
        self._closed = False
        for name in self._position.names:
            self._bus.subscribe(Changed, self._hear, name)
        self._bus.subscribe(Heads, self._hear_heads)
        self._own = copy_context()
        try:
            await self._reader.read_all()
        except BaseException:
            self.close()
            raise
        self._watching = self.spawn(self._watch())

    def close(self) -> None:
        """Follow no more, and have the bus let go: else it would hold the rows for ever."""
        self._closed = True
        for name in self._position.names:
            self._bus.unsubscribe(Changed, self._hear, name)
        self._bus.unsubscribe(Heads, self._hear_heads)
        for task in (self._watching, self._replay):
            if task is not None:
                task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task in the context that the view was opened in: listeners serve no caller."""
        task = asyncio.get_running_loop().create_task(work, context=self._own.copy())
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # it was looked at
        return task

    # -- events ----------------------------------------------------------------------------

    async def hear_out(self, heads: Numbers) -> None:
        """Wait for events that may be on their way, unless they did not come the last time."""
        if self._deaf:
            return
        try:
            async with asyncio.timeout(EVENTS_S):
                await self._position.reached(heads)
        except TimeoutError:
            self._deaf = True

    def _hear(self, event: Changed) -> None:
        """Take in together what was written together: no VM is to be seen without its job."""
        self._heard = True
        if self._closed or self._reader.snapping or not event.entries:
            return
        if self._replay is not None and not self._replay.done():
            self._held.append(event)
            return
        if event.entries[-1].number <= self._position.done[event.kind]:
            return
        if not event.along:  # of the version before: only the feed tells what was written with it
            self.replay()
            return
        parts = self._parts.setdefault(event.batch, {})
        parts[event.kind] = event
        if all(kind in parts for kind in event.along if kind in self._position.done):
            del self._parts[event.batch]
            self._take_in(parts)

    def _take_in(self, parts: dict[str, Changed]) -> None:
        position = self._position
        if any(part.before > position.done[kind] for kind, part in parts.items()):
            self.replay()
            self._held += parts.values()
            return
        for name, part in parts.items():
            done = position.done[name]
            for entry in (e for e in part.entries if e.number > done):
                self._rows.apply(name, entry)
            position.advance(name, part.entries[-1].number)
        self._deaf = False
        position.tell()

    def _hear_heads(self, event: Heads) -> None:
        """Have the feed read if a head differs: a lower one is late, or of another database."""
        self._heard = True
        if self._closed or self._watching is None:
            return
        if self._position.differs(event.numbers):
            self.replay()

    # -- the feed --------------------------------------------------------------------------

    def replay(self) -> asyncio.Task[None]:
        """Have the feed read, unless that is under way. Returns the task that does so."""
        if self._replay is None or self._replay.done():
            metrics.REPLAYS.inc()
            self._replay = self.spawn(self._look())
            self._replay.add_done_callback(lambda _: self._hear_held(), context=self._own)
        return self._replay

    async def _look(self) -> None:
        try:
            await self._reader.look()
        except Fault as fault:  # the next heads event, or the next look, starts another
            self._parts, self._held = {}, []
            log.info("cannot catch up yet", why=fault.message)
        except Exception:
            log.exception("a view broke")

    def _hear_held(self) -> None:
        """Hear again what came while the feed was read, and what had come in part before."""
        parts, held, self._parts, self._held = self._parts, self._held, {}, []
        for event in [*(event for batch in parts.values() for event in batch.values()), *held]:
            self._hear(event)

    async def _watch(self) -> None:
        """Look every few seconds in which no event came, and now and then in any case."""
        quiet = 0
        while True:
            await asyncio.sleep(QUIET_S)
            quiet += 1
            if self._heard and quiet < SURE:
                self._heard = False
                continue
            quiet = 0
            await self._look()
