"""The only door to Redis (redis-py).

What Redis cannot promise is said where it matters: see csnode/lease and csnode/bus/streams. A
command is sent once: nothing is repeated behind the caller's back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from csnode.config import RedisConfig
from csnode.faults import Denied, Fault, Invalid, Refused, Unavailable
from csnode.types import Struct

ASK_S = 3.0  # a command without answer for so long is Unavailable; it may have been carried out
CONNECTIONS = 64  # of one client; a command that waits for one too long is Unavailable
Word = str | bytes | int | float


class Entry(Struct):
    """An entry of a stream."""

    id: str  # "17-0"
    fields: dict[str, bytes]


class Redis:
    """A client. Keys are relative to the cluster's prefix: "hosts/h1" is csnode:CLUSTER:hosts/h1.

    Every command raises Unavailable if it is not answered in time (then it may have been carried
    out), Denied for a wrong password, Refused for what the server will not do.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self.prefix = prefix
        self._client = client
        self._scripts: dict[str, Any] = {}

    def key(self, name: str) -> str:
        """Return the name of a key as others see it."""
        return f"{self.prefix}{name}"

    # -- keys ------------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None without one."""
        return await self._ask(self._client.get(self.key(key)))

    async def set(
        self, key: str, value: Word, *, expire_s: float | None = None, new: bool = False
    ) -> bool:
        """Set a value that expires; with `new` only if there is none. Whether it was set."""
        expire_ms = None if expire_s is None else max(1, round(expire_s * 1000))
        return bool(await self._ask(self._client.set(self.key(key), value, px=expire_ms, nx=new)))

    async def delete(self, key: str) -> bool:
        """Delete it; return whether there was one."""
        return bool(await self._ask(self._client.delete(self.key(key))))

    async def incr(self, key: str) -> int:
        """Return one more than before; 1 if there was none."""
        return int(await self._ask(self._client.incr(self.key(key))))

    async def run(self, script: str, keys: Sequence[str], words: Sequence[Word] = ()) -> Any:
        """Run a script in Lua, as one step. Answers as redis-py gives them: int, bytes, list."""
        found = self._scripts.get(script)
        if found is None:
            found = self._scripts[script] = self._client.register_script(script)
        return await self._ask(found([self.key(key) for key in keys], list(words)))

    # -- messages --------------------------------------------------------------------------

    async def publish(self, channel: str, message: bytes) -> int:
        """Tell those who listen now; how many there were."""
        return int(await self._ask(self._client.publish(self.key(channel), message)))

    def listening(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Hear what is published from now on.

        The iterator raises Unavailable when the line breaks.
        """
        return self._listening(channel)

    @asynccontextmanager
    async def _listening(self, channel: str) -> AsyncGenerator[AsyncIterator[bytes], None]:
        line = self._client.pubsub(ignore_subscribe_messages=False)

        async def messages() -> AsyncIterator[bytes]:
            while True:  # a ping now and then: a line that was cut gives no sign
                told = await self._ask(line.get_message(timeout=ASK_S))
                if told is None:
                    await self._ask(line.ping())
                    told = await self._ask(line.get_message(timeout=ASK_S))
                    if told is None:
                        raise Unavailable("Redis does not answer")
                if told["type"] == "message":
                    yield told["data"]

        try:
            await self._ask(line.subscribe(self.key(channel)))
            told = await self._ask(line.get_message(timeout=ASK_S))
            if told is None:
                raise Unavailable("Redis does not answer")
            yield messages()
        finally:
            await line.aclose()

    # -- streams ---------------------------------------------------------------------------

    async def append(
        self, stream: str, id: str, fields: Mapping[str, Word], keep: int | None = None
    ) -> None:
        """Add an entry. Refused if its id is not above the last. `keep`: about so many stay."""
        await self._ask(
            self._client.xadd(self.key(stream), dict(fields), id=id, maxlen=keep, approximate=True)
        )

    async def read(
        self, stream: str, after: str, count: int = 1000, wait_s: float = 0.0
    ) -> list[Entry]:
        """Read entries after that id, oldest first; wait so long (under 2 s) for the first."""
        found = await self._ask(
            self._client.xread(
                {self.key(stream): after},
                count=count,
                block=max(1, round(wait_s * 1000)) if wait_s else None,
            )
        )
        return [_entry(entry) for _, entries in found or () for entry in entries]

    async def last(self, stream: str) -> str | None:
        """Return the id of the newest entry that ever was; None without a stream."""
        from redis.exceptions import ResponseError

        try:
            told: Any = await self._ask(self._client.xinfo_stream(self.key(stream)))
        except Refused as refused:
            if isinstance(refused.__cause__, ResponseError):
                return None
            raise
        return _text(told["last-generated-id"])

    async def _ask(self, command: Any) -> Any:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            answer = await command
        except Exception as error:
            if task and task.cancelling() > before:
                raise asyncio.CancelledError from error
            fault = _fault(error)
            if fault is None:
                raise
            raise fault from error
        if task and task.cancelling() > before:  # redis-py keeps it to itself now and then
            raise asyncio.CancelledError
        return answer


@asynccontextmanager
async def connected(config: RedisConfig, cluster: str) -> AsyncGenerator[Redis, None]:
    """Yield a client; it connects with its first command. Raises Invalid for a bad [redis]."""
    client = _client(config)
    try:
        yield Redis(client, f"{config.prefix}:{cluster}:")
    finally:
        await client.aclose()


def _client(config: RedisConfig) -> Any:
    try:
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio import Redis as Client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise Invalid("Redis needs redis-py: pip install csnode[redis]") from None
    if not config.url:
        raise Invalid("[redis] url: empty; redis://192.0.2.1:6379/0 is one")
    try:
        pool = cast("Any", BlockingConnectionPool).from_url(
            config.url,
            max_connections=CONNECTIONS,
            timeout=ASK_S,
            socket_timeout=ASK_S,
            socket_connect_timeout=ASK_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError as error:
        raise Invalid(f"[redis] url: {error}") from error
    return Client.from_pool(pool)


def _fault(error: Exception) -> Fault | None:
    from redis import exceptions

    why = str(error)
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return Denied("Redis does not let us", detail=why)
    if isinstance(error, exceptions.ResponseError):
        if why.startswith(("LOADING", "READONLY", "MASTERDOWN", "TRYAGAIN", "BUSY ")):
            return Unavailable("Redis is not ready", detail=why)
        return Refused("Redis refused", detail=why)
    if isinstance(error, exceptions.RedisError | OSError):
        return Unavailable("Redis is away", detail=why)
    return None


def _entry(found: Any) -> Entry:
    id, fields = found
    return Entry(id=_text(id), fields={_text(name): value for name, value in fields.items()})


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
