"""The only door to ZooKeeper (kazoo): its threads end here, what leaves is asyncio.

A session is what ZooKeeper knows us by. It outlives lost connections and restarts of the server,
as long as we are heard from again within `session_s`; then it has expired, what was ephemeral is
gone, and a new session is made. Nobody tells us while we are cut off: whoever must know counts
for himself, from before his last request that was answered.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from functools import partial
from typing import Any, cast

from csnode.config import ZooKeeperConfig
from csnode.faults import Conflict, Denied, Invalid, NotFound, Refused, Unavailable
from csnode.log import logger
from csnode.types import Struct

log = logger("zookeeper")
ASK_S = 3.0  # a request without answer for so long is Unavailable; it may still be carried out
LEAVE_S = 3.0  # to end the session; a server that is away lets it expire
SESSION_S = (1.0, 40.0)  # what servers agree to: 2 to 20 of their ticks
RENEW = 2.5  # sessions without a connection: then we begin anew. A server that lost its data, or
# stands before what we saw last, never takes us back; by then any other has let go of us too
RETRY = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 0.5, "max_jitter": 0.2}
_quiet = logging.getLogger("csnode.servers.kazoo")  # what matters of it we say ourselves
_quiet.disabled = True


class Line(StrEnum):
    """How it stands with the session."""

    UP = "up"  # the server answers
    DOWN = "down"  # it does not; the session may still stand
    LOST = "lost"  # the session has expired: all that was ephemeral is gone


class Stat(Struct):
    """A znode. All numbers are the server's."""

    value: bytes
    created: int  # czxid: grows with every znode that is made, whatever its path
    changed: int  # mzxid
    version: int
    session: int  # of the session that it goes with; 0: it is not ephemeral


class ZooKeeper:
    """A client. Paths are relative to the cluster's root, "hosts/h1"; folders are made as needed.

    Every request raises Unavailable if it is not answered within ASK_S: then it may have been
    carried out, or may yet be. Watches are called once, in the loop, also when the line is cut.
    """

    def __init__(self, client: Any, root: str, session_s: float) -> None:
        self.session_s = session_s
        self._client, self._root = client, root
        self._loop = asyncio.get_running_loop()
        self._up = asyncio.Event()
        self._listeners: list[Callable[[Line], None]] = []
        self._open = True
        self._turning = threading.Lock()  # a session begins, or ends, in a thread of kazoo's
        self._patience: asyncio.TimerHandle | None = None

    @property
    def session(self) -> int:
        """The number of the session; 0 while the server is not there."""
        return int(self._client._session_id or 0) if self._up.is_set() else 0

    @property
    def up(self) -> bool:
        """Whether the server answers, as far as we know."""
        return self._up.is_set()

    def listen(self, listener: Callable[[Line], None]) -> None:
        """Tell the listener from now on, whenever the line changes."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[Line], None]) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)

    # -- requests --------------------------------------------------------------------------

    async def create(self, path: str, value: bytes = b"", ephemeral: bool = False) -> Stat:
        """Make a znode. Raises Conflict if there is one.

        After Unavailable it may be there all the same: `get` tells, by its `session`.
        """
        made = await self._ask(
            "create",
            self._client.create_async,
            self._at(path),
            value,
            ephemeral=ephemeral,
            makepath=True,
            include_data=True,
        )
        return _stat(value, made[1])

    async def get(self, path: str, watch: Callable[[], None] | None = None) -> Stat | None:
        """Return a znode; None if there is none. The watch is called when it changes or goes.

        Without a znode no watch is set: see `exists`.
        """
        try:
            value, stat = await self._ask(
                "get", self._client.get_async, self._at(path), watch=self._watch(watch)
            )
        except NotFound:
            return None
        return _stat(value, stat)

    async def exists(self, path: str, watch: Callable[[], None] | None = None) -> bool:
        """Tell whether there is one. The watch is called when it comes, changes or goes."""
        stat = await self._ask(
            "exists", self._client.exists_async, self._at(path), watch=self._watch(watch)
        )
        return stat is not None

    async def set(self, path: str, value: bytes, version: int = -1) -> Stat:
        """Change its value, if it is at that version. Raises NotFound, Conflict."""
        stat = await self._ask("set", self._client.set_async, self._at(path), value, version)
        return _stat(value, stat)

    async def delete(self, path: str, version: int = -1) -> None:
        """Remove it, if it is at that version; nothing if it is not there. Raises Conflict."""
        with suppress(NotFound):
            await self._ask("delete", self._client.delete_async, self._at(path), version)

    async def children(self, path: str, watch: Callable[[], None] | None = None) -> list[str]:
        """Return the names below a path, in no order. The watch is called when one comes or goes.

        Raises NotFound if there is no such folder: `folder` makes one.
        """
        names = await self._ask(
            "children", self._client.get_children_async, self._at(path), watch=self._watch(watch)
        )
        return [str(name) for name in names]

    async def folder(self, path: str) -> None:
        """Make a folder that stays, if there is none."""
        await self._ask("folder", self._client.ensure_path_async, self._at(path))

    # -- kazoo's threads -------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    async def _ask(self, what: str, start: Callable[..., Any], *args: Any, **named: Any) -> Any:
        answer: asyncio.Future[Any] = self._loop.create_future()
        try:
            async with asyncio.timeout(ASK_S):
                await self._up.wait()
                start(*args, **named).rawlink(partial(self._later, _settle, answer))
                return await answer
        except TimeoutError:
            raise Unavailable(f"ZooKeeper does not answer ({what})") from None

    def _watch(self, watch: Callable[[], None] | None) -> Callable[[Any], None] | None:
        return None if watch is None else lambda _event: self._later(watch)

    def _state(self, state: str) -> None:
        """Take the state from kazoo's thread: CONNECTED, SUSPENDED or LOST."""
        line = {"CONNECTED": Line.UP, "SUSPENDED": Line.DOWN}.get(state, Line.LOST)
        self._later(self._turn, line)

    def _turn(self, line: Line) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if line is Line.UP:
            self._up.set()
        else:
            self._up.clear()
        if line is Line.DOWN:
            self._patience = self._loop.call_later(RENEW * self.session_s, self._renew)
        if line is Line.LOST and self._open:
            log.warning("the session has expired; a new one follows")
        for listener in tuple(self._listeners):
            listener(line)

    def _later(self, act: Callable[..., None], *args: Any) -> None:
        """Call back in the loop; after its end, nowhere."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act, *args)

    def _renew(self) -> None:
        """Give the session up, and begin with a new one."""

        def restart() -> None:
            try:
                with self._turning:
                    self._client.stop()
                    if self._open:
                        self._client.start_async()
            except Exception as error:  # noqa: BLE001
                self._later(log.error, f"no new session can be had: {error}")

        if self._open:
            self._client.handler.spawn(restart)

    async def _leave(self) -> None:
        """End the session. Joining kazoo's threads may take long: never in the loop."""
        self._open = False
        left = asyncio.Event()

        def stop() -> None:
            try:
                with self._turning:
                    self._client.stop()
                    self._client.close()
            except Exception as error:  # noqa: BLE001 - the server lets the session expire
                self._later(log.debug, f"the session was not ended: {error}")
            self._later(left.set)

        self._client.handler.spawn(stop)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await left.wait()


@asynccontextmanager
async def connected(config: ZooKeeperConfig, cluster: str) -> AsyncGenerator[ZooKeeper, None]:
    """Yield a client with a session of its own, made again whenever it expires; ended on leaving.

    It does not wait for the server: requests do. Raises Invalid for a bad [zookeeper].
    """
    least, most = SESSION_S
    if not config.hosts:
        raise Invalid("[zookeeper] hosts: empty; one is needed, such as 192.0.2.1:2181")
    if not config.root.startswith("/"):
        raise Invalid(f"[zookeeper] root: {config.root!r} does not begin with /")
    if not least <= config.session_seconds <= most:
        raise Invalid(f"[zookeeper] session_seconds: between {least:g} and {most:g}, please")
    client = _client(config)
    root = f"{config.root.rstrip('/')}/{cluster}"
    found = ZooKeeper(client, root, config.session_seconds)
    client.add_listener(found._state)
    client.start_async()
    try:
        yield found
    finally:
        await found._leave()


def _client(config: ZooKeeperConfig) -> Any:
    try:
        from kazoo.client import KazooClient
    except ImportError:
        raise Invalid("ZooKeeper needs kazoo: pip install csnode[zookeeper]") from None
    make = cast("Callable[..., Any]", KazooClient)
    return make(
        hosts=",".join(config.hosts),
        timeout=config.session_seconds,
        connection_retry=RETRY,
        logger=_quiet,
    )


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    error: BaseException | None = result.exception
    if error is None:
        answer.set_result(result.value)
    else:
        answer.set_exception(_fault(error))


def _fault(error: BaseException) -> Exception:
    from kazoo import exceptions

    kinds = cast("Any", exceptions)
    away: Sequence[type[BaseException]] = (
        kinds.ConnectionLoss,
        kinds.ConnectionClosedError,
        kinds.SessionExpiredError,
        kinds.SessionMovedError,
        kinds.OperationTimeoutError,
    )
    what = type(error).__name__
    if isinstance(error, tuple(away)):
        return Unavailable("ZooKeeper is away", detail=what)
    if isinstance(error, kinds.NoNodeError):
        return NotFound("no such znode")
    if isinstance(error, kinds.NodeExistsError | kinds.BadVersionError | kinds.NotEmptyError):
        return Conflict("the znode is somebody else's", detail=what)
    if isinstance(error, kinds.NoAuthError | kinds.AuthFailedError):
        return Denied("ZooKeeper does not let us", detail=what)
    return Refused("ZooKeeper refused", detail=f"{what}: {error}")


def _stat(value: bytes, stat: Any) -> Stat:
    return Stat(
        value=value,
        created=int(stat.czxid),
        changed=int(stat.mzxid),
        version=int(stat.version),
        session=int(stat.ephemeralOwner),
    )
