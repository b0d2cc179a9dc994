"""Brings the feed into the stream of events, in order, each number once.

Whoever holds the lease adds; where to go on is written in the stream itself, and adding is refused
unless the stream ends where we believe. So it does not matter who is killed, when, or how often.
A stream that is gone is filled again, as far as it may be long and the feed reaches back. One that
ends with what our feed does not have is of another database, and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from csnode.bus.streams import Streams, Told
from csnode.clock import now
from csnode.contracts.data import Past
from csnode.data.store import Store
from csnode.faults import Conflict, Fault
from csnode.lease.lease import Held
from csnode.log import logger

LEASE, LEASE_S = "relay", 6.0
PAGE = 500
LOOK_S = 0.2  # commits of other data processes are not told to us
SHOW_S = 1.0
SECRET_KINDS = {"user", "session"}  # their rows stay out of the stream
SECRET_COLUMN = b'"fence_options":'  # and any row with this one
Since = Callable[[int, int], Awaitable[Sequence[Past]]]
log = logger("relay")


class Relay:
    """One of the data processes relays, by the lease."""

    _streams: Streams

    def __init__(self, store: Store, since: Since, kinds: tuple[str, ...]) -> None:
        """Make a relay; `since(number, limit)` reads the feed past that number, or its oldest."""
        self.trouble = ""
        self._store, self._since, self._kinds = store, since, kinds
        self._shown = 0.0

    async def run(self, streams: Streams) -> None:
        """Run until cancelled."""
        self._streams = streams
        while True:
            try:
                async with self._store.hold(LEASE, LEASE_S) as held:
                    await self._relay(held)
            except Conflict:  # another one relays
                self.trouble = ""
            except Fault as fault:
                if not self.trouble:
                    log.warning("events are held up", why=fault.message, detail=fault.detail)
                self.trouble = f"events are held up: {fault.message}"
            except Exception:
                log.exception("the relay broke")
                self.trouble = "events are held up: the relay broke"
            await asyncio.sleep(1.0)

    async def _relay(self, held: Held) -> None:
        end, after = await self._place()
        while held.ours:
            self._streams.noted.clear()
            past = await self._since(after, PAGE)
            if not past:
                self.trouble = ""
                await self._idle()
            elif await self._streams.add(end, [_told(one) for one in past]):
                end = after = past[-1].entry.number
            else:  # it is not the stream we knew
                end, after = await self._place()

    async def _place(self) -> tuple[int | None, int]:
        """Return the number the stream ends with, None without one; and after which to go on."""
        end = await self._streams.end()
        if end is not None:
            number = end[0]
            found = await self._since(number - 1, 1)
            if found and _is(found[0], end):
                return number, number
            log.warning("the stream is of another database; it begins anew", ended=number)
            await self._streams.clear()
        last = await self._store.data.head(self._kinds)
        return None, max(0, last - self._streams.keep)

    async def _idle(self) -> None:
        if now() > self._shown + SHOW_S:
            self._shown = now()
            heads = await self._store.data.heads(self._kinds)
            await self._streams.show(dict(zip(self._kinds, heads, strict=True)))
        try:
            async with asyncio.timeout(LOOK_S):
                await self._streams.noted.wait()
        except TimeoutError:
            pass


@asynccontextmanager
async def relaying(
    store: Store, streams: Streams | None, since: Since, kinds: tuple[str, ...]
) -> AsyncGenerator[Relay]:
    """Yield a relay at work; an idle one if events go another way."""
    relay = Relay(store, since, kinds)
    work = asyncio.create_task(relay.run(streams)) if streams is not None else None
    try:
        yield relay
    finally:
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _is(past: Past, end: tuple[int, str, str, int]) -> bool:
    """Tell whether the stream ends with that entry, or with one the feed has forgotten by now."""
    number, kind, id, revision = end
    entry = past.entry
    return entry.number > number or (past.kind, entry.id, entry.revision) == (kind, id, revision)


def _told(past: Past) -> Told:
    entry = past.entry
    secret = past.kind in SECRET_KINDS or SECRET_COLUMN in entry.row
    return Told(
        number=entry.number,
        kind=past.kind,
        id=entry.id,
        revision=entry.revision,
        row=None if secret else entry.row,
        at=past.at,
        trace=past.trace,
        by=past.by,
    )
