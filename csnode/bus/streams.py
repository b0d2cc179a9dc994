"""The feed as a stream in Redis: what carries events with [bus] events = "redis".

The key PREFIX:CLUSTER:feed is a Redis stream with one entry for each number of the feed; its id
is "<number>-0", its fields are kind, id, revision, row (JSON; empty: the row was deleted), at
(seconds since 1970), trace and by. An entry of what is secret has no field `row`. Anybody who may
read the Redis can follow it: XREAD from the last id he has. It need not be kept well: what is lost
of it, the data service adds again, and views ask the data service for what did not reach them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import msgspec

from csnode.bus.event import Changed, Entry, Event, Heads
from csnode.clock import now
from csnode.config import BusConfig, Config, RedisConfig
from csnode.faults import Fault, Invalid
from csnode.log import logger
from csnode.servers import redis as door
from csnode.servers.redis import Redis
from csnode.types import Struct

FEED, HEADS = "feed", "heads"
WAIT_S = 1.0  # what one question for entries waits
AGAIN_S = 0.5  # after the server was away
HEADS_S = 5.0  # after so long without news of them, heads are nobody's
AT_ONCE = 500
log = logger("bus")

ADD = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local at = ''
if #last > 0 then at = last[1][1] end
if at ~= ARGV[1] then return 0 end
for n = 3, #ARGV, 8 do
  local entry = {'kind', ARGV[n + 1], 'id', ARGV[n + 2], 'revision', ARGV[n + 3],
                 'at', ARGV[n + 5], 'trace', ARGV[n + 6], 'by', ARGV[n + 7]}
  if ARGV[n + 4] ~= '-' then
    entry[#entry + 1] = 'row'
    entry[#entry + 1] = string.sub(ARGV[n + 4], 2)
  end
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[n], unpack(entry))
end
return 1
"""

END = "return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)"


class Told(Struct):
    """An entry of the feed with its circumstances; without `row` if that is secret."""

    number: int
    kind: str
    id: str
    revision: int
    row: bytes | None
    at: float
    trace: str
    by: str


class Streams:
    """Both ends of the stream: the data service's, which adds, and everybody else's."""

    def __init__(self, redis: Redis, keep: int) -> None:
        """Make streams; about `keep` entries stay in the stream."""
        self.noted = asyncio.Event()  # this process committed something, or the like
        self.keep = keep
        self._own = copy_context()  # events are nobody's call
        self._redis = redis
        self._reading: asyncio.Task[None] | None = None
        self._closed = False
        self._last: int | None = None  # number read last
        self._seen: dict[str, int] = {}  # the last of each kind since `_base`
        self._base = 0  # up to there others may have had entries that we had not
        self._away_since: float | None = None

    # -- adding ----------------------------------------------------------------------------

    async def end(self) -> tuple[int, str, str, int] | None:
        """Return number, kind, id and revision of the last entry; None if there is none."""
        found = await self._redis.run(END, [FEED])
        if not found:
            return None
        id, flat = found[0]
        fields: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))
        kind, row, revision = (fields[name].decode() for name in (b"kind", b"id", b"revision"))
        return _number(id.decode()), kind, row, int(revision)

    async def add(self, after: int | None, entries: Sequence[Told]) -> bool:
        """Add them at the end, which must be that number; False, and nothing done, if it is not."""
        words: list[str | bytes | int | float] = ["" if after is None else f"{after}-0", self.keep]
        for told in entries:
            row = b"-" if told.row is None else b"=" + told.row
            words += [f"{told.number}-0", told.kind, told.id, told.revision]
            words += [row, repr(told.at), told.trace, told.by]
        return bool(await self._redis.run(ADD, [FEED], words))

    async def clear(self) -> None:
        """Remove the stream."""
        await self._redis.delete(FEED)

    async def show(self, heads: Mapping[str, int]) -> None:
        """Show the last number of each kind, for readers whom nothing reaches."""
        await self._redis.set(HEADS, msgspec.json.encode(heads), expire_s=HEADS_S)

    # -- reading ---------------------------------------------------------------------------

    def follow(self, publish: Callable[[Event], None]) -> None:
        """Publish what comes from now on; the first call counts."""
        if self._reading is None:
            work = self._follow(publish)
            self._reading = asyncio.get_running_loop().create_task(work, context=self._own.copy())

    async def close(self) -> None:
        """Follow no more."""
        self._closed = True  # a cancel may be lost in the client, when it meets a timeout
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def troubles(self) -> Sequence[str]:
        """Return what keeps events from coming; views ask the data service for them, if later."""
        if self._away_since is None:
            return ()
        return (f"Redis has not answered for {now() - self._away_since:.0f} s",)

    async def _follow(self, publish: Callable[[Event], None]) -> None:
        while not self._closed:
            try:
                for event in await self._news():
                    publish(event)
                self._away_since = None
            except Fault as fault:
                if self._away_since is None:
                    self._away_since = now()
                    log.warning("no events", why=fault.message, detail=fault.detail)
                await asyncio.sleep(AGAIN_S)
            except Exception:
                log.exception("the stream of events broke")
                self._last = None
                await asyncio.sleep(AGAIN_S)

    async def _news(self) -> Sequence[Event]:
        last = await self._begin() if self._last is None else self._last
        entries = await self._redis.read(FEED, f"{last}-0", AT_ONCE, WAIT_S)
        if entries:
            return self._changed(entries)
        return await self._quiet(last)

    async def _begin(self) -> int:
        """Return the number of the end; what was before that nobody told us."""
        end = await self._redis.last(FEED)
        self._last = self._base = last = _number(end) if end else 0
        self._seen.clear()
        return last

    async def _quiet(self, last: int) -> Sequence[Event]:
        """React to silence: there is nothing, or the stream is not the one it was."""
        end = await self._redis.last(FEED)
        if end is not None and _number(end) < last:
            last = await self._begin()
        told = await self._redis.get(HEADS)
        heads = msgspec.json.decode(told, type=dict[str, int]) if told else {}
        if max(heads.values(), default=0) < last:
            return ()
        return (Heads(numbers=heads),)

    def _changed(self, entries: Sequence[door.Entry]) -> Sequence[Event]:
        """Make as few events as may be, each kind's in order; what we lack shows by `before`."""
        events: list[tuple[str, int, list[Entry]]] = []
        growing: dict[str, list[Entry]] = {}
        for entry in entries:
            number, kind = _number(entry.id), entry.fields["kind"].decode()
            if number - 1 != self._last:  # trimmed before we had it, or lost with the server
                self._base = number - 1
                self._seen.clear()
                growing.clear()
            before = self._seen.get(kind, self._base)
            self._last = self._seen[kind] = number
            read = _entry(number, entry.fields)
            if "row" not in entry.fields:
                growing.pop(kind, None)
                events.append((kind, number, [read]))  # whoever has not got it asks for it
            elif kind in growing:
                growing[kind].append(read)
            else:
                growing[kind] = [read]
                events.append((kind, before, growing[kind]))
        along = tuple(dict.fromkeys(kind for kind, _, _ in events))
        return [
            Changed(kind=k, before=b, entries=tuple(of), batch=self._last or 0, along=along)
            for k, b, of in events
        ]


def _entry(number: int, fields: Mapping[str, bytes]) -> Entry:
    return Entry(
        number=number,
        id=fields["id"].decode(),
        revision=int(fields["revision"]),
        row=fields.get("row", b""),
    )


@asynccontextmanager
async def streaming(config: Config) -> AsyncGenerator[Streams | None]:
    """Yield the streams of that configuration; None if events go another way. Raises Invalid."""
    match config.section("bus", BusConfig).events:
        case "zeromq":
            yield None
        case "redis":
            section = config.section("redis", RedisConfig)
            async with door.connected(section, config.node.cluster) as redis:
                streams = Streams(redis, section.stream_keep)
                try:
                    yield streams
                finally:
                    await streams.close()
        case other:
            raise Invalid(f"[bus] events {other!r}: there are zeromq, redis")


def carried(event: type[Any] | Event) -> bool:
    """Tell whether the stream carries such events: those that tell of the feed."""
    kind = event if isinstance(event, type) else type(event)
    return kind in (Changed, Heads)


def _number(id: str) -> int:
    return int(id.partition("-")[0])
