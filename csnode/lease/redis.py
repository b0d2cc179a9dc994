"""Leases kept by Redis: a key that expires, with a value that only its holder knows.

What Redis cannot promise: it answers before what it did is on disk or with its replicas. After a
crash or a failover a lease that was held may be free, and a second holder gets it while the first
one, who renews every third of its time, has not noticed. Then two act at once for a while. That is
harmless, as for any lease that was slept through: commits name the revisions they follow, and
components refuse the lower of two fences. The fence counts on from the server's clock, so that a
Redis which lost its counter gives no fence twice, unless its clock went back as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from csnode.config import RedisConfig
from csnode.contracts.data import Hold
from csnode.faults import Conflict
from csnode.lease.lease import Endings, Held, holding
from csnode.servers.redis import Redis, connected
from csnode.uuids import new_id

HELD = "leases"  # name -> until when, for `held` only: what counts is the lease's own key
FENCE = "fence"  # one for all leases: names come and go

TAKE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {0, redis.call('GET', KEYS[1])}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local fence = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now)
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[3])
return {fence, ARGV[1]}
"""

RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], ARGV[3])
return 1
"""

GIVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
"""

NAMES = """
local t = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), '+inf')
"""


class RedisLeases:
    """Enter it; it connects when first needed."""

    def __init__(self, config: RedisConfig, cluster: str) -> None:
        self._config, self._cluster = config, cluster
        self._endings = Endings(self)
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._made: Redis | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    @asynccontextmanager
    async def hold(self, name: str, holder: str, seconds: float) -> AsyncGenerator[Held]:
        """See Leases.hold."""
        key = _Key(await self._redis(), name, f"{holder} {new_id()}", seconds)
        async with holding(name, key, seconds) as held:
            yield held

    def ended(self, name: str, by: str) -> AbstractAsyncContextManager[tuple[Hold, ...]]:
        """See Leases.ended."""
        return self._endings.over(name, by)

    async def held(self, prefix: str) -> Collection[str]:
        """See Leases.held."""
        names: list[bytes] = await (await self._redis()).run(NAMES, [HELD])
        return tuple(name for raw in names if (name := raw.decode()).startswith(prefix))

    async def _redis(self) -> Redis:
        async with self._opening:
            if self._made is None:
                opening = connected(self._config, self._cluster)
                self._made = await self._opened.enter_async_context(opening)
        return self._made


class _Key:
    """One hold, as a key whose value is this hold's alone."""

    def __init__(self, redis: Redis, name: str, value: str, seconds: float) -> None:
        self._redis, self._name, self._value = redis, name, value
        self._key = f"lease:{name}"
        self._ms = max(1, round(seconds * 1000))

    async def take(self) -> int:
        words = (self._value, self._ms, self._name)
        fence, whose = await self._redis.run(TAKE, [self._key, FENCE, HELD], words)
        if not fence and whose != self._value.encode():
            holder = whose.decode(errors="replace").partition(" ")[0]
            raise Conflict(f"{holder} holds the lease {self._name}")
        return int(fence)

    async def renew(self) -> None:
        words = (self._value, self._ms, self._name)
        if not await self._redis.run(RENEW, [self._key, HELD], words):
            raise Conflict(f"the lease {self._name} was lost")

    async def give(self) -> None:
        await self._redis.run(GIVE, [self._key, HELD], (self._value, self._name))
