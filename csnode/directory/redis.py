"""The directory in Redis: a key a node, renewed about every second, that expires by itself.

Each renewal is published too, so others hear of a change at once; whoever missed it finds the key
at his next look. Silence is judged as with beacons: by when an entry last changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

from csnode import uuids
from csnode.clock import now
from csnode.config import RedisConfig
from csnode.directory.beacon import Says, Seal
from csnode.directory.beating import BEAT_S
from csnode.directory.roster import GONE_S
from csnode.directory.stored import Loop, StoredDirectory, may_be_asked, name_of
from csnode.servers import redis

NODES = "nodes"  # the set of all keys; each is nodes/NAME
CHANNEL = "nodes"
LOOK_S = 2.0
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('PUBLISH', KEYS[3], ARGV[1])
"""
_DROP = """
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[2])
redis.call('PUBLISH', KEYS[3], ARGV[1])
"""
_ALL = """
local found = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local entry = redis.call('GET', KEYS[1] .. '/' .. name)
  if entry then
    found[#found + 1] = name
    found[#found + 1] = entry
  else
    redis.call('SREM', KEYS[1], name)
  end
end
return found
"""


class RedisDirectory(StoredDirectory):
    """See the module."""

    server = "Redis"

    def __init__(self, config: RedisConfig, seal: Seal) -> None:
        super().__init__(seal)
        self._config = config
        self._known: dict[str, bytes] = {}  # the entries of the last look, by name

    async def _connect(self, stack: AsyncExitStack) -> None:
        with suppress(ValueError):  # a bad URL is refused below
            may_be_asked((urlsplit(self._config.url).hostname or "",), self._seal.keyed, "redis")
        self._server = await stack.enter_async_context(
            redis.connected(self._config, self._seal.cluster)
        )

    def _loops(self) -> Iterable[Loop]:
        return self._write, self._listen, self._follow

    # -- our own entry ---------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            self._changed.clear()
            if (own := self._roster.own) is not None:
                name, sealed = name_of(own), self._sealed(own)
                await self._server.run(
                    _PUT,
                    [f"{NODES}/{name}", NODES, CHANNEL],
                    [sealed, round(GONE_S * 1000), name],
                )
            self._answered(self._write.__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(uuids.source.uniform(*BEAT_S)):
                    await self._changed.wait()

    async def _part(self) -> None:
        if (own := self._roster.own) is not None:
            name, sealed = name_of(own), self._sealed(own, Says.BYE)
            await self._server.run(_DROP, [f"{NODES}/{name}", NODES, CHANNEL], [sealed, name])

    # -- those of others -------------------------------------------------------------------

    async def _listen(self) -> None:
        async with self._server.listening(CHANNEL) as messages:
            await self._look()  # what was said before we listened
            self._answered(self._listen.__name__)
            async for sealed in messages:
                if member := self._take(sealed):
                    self._known[name_of(member)] = sealed

    async def _follow(self) -> None:
        while True:
            await self._look()
            self._answered(self._follow.__name__)
            if self._away_since is None:  # else silence may be the server's
                self._roster.sweep(now())
            await asyncio.sleep(min(LOOK_S, self._roster.next_sweep(now())))

    async def _look(self) -> None:
        """Read all entries, and take note of those that changed."""
        found = await self._server.run(_ALL, [NODES])
        entries = {
            name.decode(): sealed for name, sealed in zip(found[::2], found[1::2], strict=True)
        }
        changed = [name for name in entries if entries[name] != self._known.get(name)]
        self._known = entries
        for name in changed:
            self._take(entries[name], name)
