"""Leases kept by ZooKeeper: an ephemeral znode, which goes with the session of whoever made it.

The fence is the number of the transaction that made the znode. A holder that vanishes has lost
its lease when its session expires: after [zookeeper] session_seconds, if the lease asked for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote

from csnode.config import ZooKeeperConfig
from csnode.contracts.data import Hold
from csnode.faults import Conflict, Fault, NotFound, Unavailable
from csnode.lease.lease import Endings, Held, holding
from csnode.log import logger
from csnode.servers.zookeeper import Line, ZooKeeper, connected
from csnode.uuids import new_id

FOLDER = "leases"
AGAIN_S = 0.2
log = logger("lease")


class ZooKeeperLeases:
    """Enter it; it connects when first needed. Leaving ends the session, and every hold with it."""

    def __init__(self, config: ZooKeeperConfig, cluster: str) -> None:
        self._config, self._cluster = config, cluster
        self._endings = Endings(self)
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._made: ZooKeeper | None = None
        self._held: dict[str, Held] = {}  # by the mark in the znode
        self._clearing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._clearing:
            task.cancel()
        await asyncio.gather(*self._clearing, return_exceptions=True)
        await self._opened.aclose()

    @asynccontextmanager
    async def hold(self, name: str, holder: str, seconds: float) -> AsyncGenerator[Held]:
        """See Leases.hold."""
        zookeeper = await self._zookeeper()
        znode = _Znode(zookeeper, name, f"{holder} {new_id()}", self._held)
        try:
            async with holding(name, znode, min(seconds, zookeeper.session_s)) as held:
                self._held[znode.mark] = held
                if zookeeper.session not in (0, znode.session):  # it expired before we looked
                    held.lost.set()
                yield held
        finally:
            self._held.pop(znode.mark, None)
            if znode.left:
                self._spawn(self._clear(zookeeper, znode))

    def ended(self, name: str, by: str) -> AbstractAsyncContextManager[tuple[Hold, ...]]:
        """See Leases.ended."""
        return self._endings.over(name, by)

    async def held(self, prefix: str) -> Collection[str]:
        """See Leases.held."""
        zookeeper = await self._zookeeper()
        try:
            names = await zookeeper.children(FOLDER)
        except NotFound:
            return ()
        return tuple(name for name in map(unquote, names) if name.startswith(prefix))

    async def _zookeeper(self) -> ZooKeeper:
        async with self._opening:
            if self._made is None:
                opening = connected(self._config, self._cluster)
                self._made = await self._opened.enter_async_context(opening)
                self._made.listen(self._changed)
        return self._made

    def _changed(self, line: Line) -> None:
        """Take the line's new state: with the session go all its leases.

        While the line is only cut, our clocks decide.
        """
        if line is Line.LOST:
            for held in self._held.values():
                held.lost.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def _clear(self, zookeeper: ZooKeeper, znode: _Znode) -> None:
        """Remove a znode that we could not remove, or do not know whether we made.

        It would last as long as our session. What was asked over a line that broke may come late:
        so look twice.
        """
        for pause in (0.0, zookeeper.session_s):
            await asyncio.sleep(pause)
            while True:
                try:
                    await znode.remove()
                except Unavailable:
                    await asyncio.sleep(AGAIN_S)
                except Fault as fault:
                    log.info("cannot clear a lease", lease=znode.name, why=fault.message)
                    break
                else:
                    break


class _Znode:
    """One hold, as a znode whose value is this hold's alone."""

    def __init__(self, zookeeper: ZooKeeper, name: str, mark: str, live: dict[str, Held]) -> None:
        self._zookeeper, self._live = zookeeper, live
        self.name, self.mark = name, mark
        self.left = False  # it may be there
        self.session = 0
        self._path = f"{FOLDER}/{quote(name, safe='')}"
        self._value = mark.encode()
        self._fence = self._version = 0

    async def take(self) -> int:
        for last in (False, True):
            self.left = True
            try:
                made = await self._zookeeper.create(self._path, self._value, ephemeral=True)
            except Unavailable:
                raise
            except Conflict:
                self.left = False
                if last or not await self._free():
                    raise Conflict(f"somebody else holds the lease {self.name}") from None
            except Fault:
                self.left = False
                raise
            else:
                self._fence, self._version, self.session = made.created, 0, made.session
                return self._fence
        raise AssertionError

    async def _free(self) -> bool:
        """Tell whether it is free after all.

        It went meanwhile, or is left of a hold of ours that ended while the server was away.
        """
        found = await self._zookeeper.get(self._path)
        if found is None:
            return True
        whose = found.value.decode(errors="replace")
        if found.session != self._zookeeper.session or whose in self._live:
            raise Conflict(f"{whose.partition(' ')[0]} holds the lease {self.name}")
        await self._zookeeper.delete(self._path, found.version)
        return True

    async def renew(self) -> None:
        """Renew by writing: only a server that has a quorum behind it can answer that."""
        for _ in range(2):
            try:
                stat = await self._zookeeper.set(self._path, self._value, self._version)
            except NotFound:
                break
            except Conflict:  # written by us, and not answered; or another's
                found = await self._zookeeper.get(self._path)
                if found is None or found.created != self._fence:
                    break
                self._version = found.version
            else:
                if stat.created != self._fence:  # another's, that had come to our version
                    break
                self._version = stat.version
                return
        self.left = False
        raise Conflict(f"the lease {self.name} was lost")

    async def give(self) -> None:
        await self.remove()
        self.left = False

    async def remove(self) -> None:
        """Remove the znode if it is ours; nothing if it is not there."""
        found = await self._zookeeper.get(self._path)
        if found is None or found.value != self._value:
            return
        if found.session != self._zookeeper.session:
            raise Unavailable("the session is away, and the lease goes with it")
        await self._zookeeper.delete(self._path, found.version)
