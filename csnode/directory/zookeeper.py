"""The directory in ZooKeeper: an ephemeral znode a node, which goes when its session ends.

ZooKeeper tells of silence: a node that was killed is gone after its session (4 s, rounded up to
the server's next tick), one that says goodbye at once. Besides, each entry is written again now
and then by the node's own loop, so one whose threads live on while it hangs is noticed too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial

import msgspec

from csnode.clock import now
from csnode.config import ZooKeeperConfig
from csnode.directory.beacon import Seal
from csnode.directory.directory import Member
from csnode.directory.stored import Loop, StoredDirectory, may_be_asked, name_of
from csnode.faults import Conflict, NotFound, Unavailable
from csnode.servers import zookeeper
from csnode.servers.zookeeper import Line
from csnode.types import NodeId

NODES = "nodes"  # the folder
WRITE_S = 10.0  # between two writings of an unchanged entry
STUCK_S = (25.0, 50.0)  # an entry not written for so long: its node is suspect, gone
LIST_S = 5.0  # between two looks if no watch calls
SETTLE_S = 0.02  # what changes together is read together
GRACE_S = 6.0  # after an outage: for the others' sessions to be made again


class _Entry(msgspec.Struct):
    sealed: bytes | None = None
    node: NodeId | None = None  # None: nothing in it was ever believed
    incarnation: int = 0
    at: float = 0.0  # when it last said something new


class ZooKeeperDirectory(StoredDirectory):
    """See the module."""

    server = "ZooKeeper"

    def __init__(self, config: ZooKeeperConfig, seal: Seal) -> None:
        super().__init__(seal)
        self._config = config
        self._entries: dict[str, _Entry] = {}  # by name
        self._unread: set[str] = set()  # those a watch told of
        self._news = asyncio.Event()  # a watch called
        self._watched = False  # whether the folder is
        self._grace_until = 0.0

    async def _connect(self, stack: AsyncExitStack) -> None:
        hosts = (host.rpartition(":")[0] or host for host in self._config.hosts)
        may_be_asked(hosts, self._seal.keyed, "zookeeper")
        self._server = await stack.enter_async_context(
            zookeeper.connected(self._config, self._seal.cluster)
        )
        self._server.listen(self._turned)

    def _loops(self) -> Iterable[Loop]:
        return self._write, self._follow

    def _turned(self, line: Line) -> None:
        if line is Line.UP:
            self._changed.set()  # the session may be a new one
            self._watched = False
            self._unread.update(self._entries)
            self._news.set()
        else:
            self._away(self._follow.__name__, "the connection is cut")

    def _returned(self) -> None:
        self._grace_until = now() + GRACE_S
        for entry in self._entries.values():
            entry.at = now()

    # -- our own entry ---------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            self._changed.clear()
            if (own := self._roster.own) is not None:
                await self._put(own)
            self._answered(self._write.__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_S):
                    await self._changed.wait()

    async def _put(self, own: Member) -> None:
        path, sealed = f"{NODES}/{name_of(own)}", self._sealed(own)
        try:
            entry = await self._server.set(path, sealed)
        except NotFound:
            with suppress(Conflict):  # a request that we had given up was carried out
                entry = await self._server.create(path, sealed, ephemeral=True)
                return
            raise Unavailable("our entry was made twice") from None
        if entry.session != self._server.session:  # of a session that is about to end
            await self._server.delete(path)
            await self._server.create(path, sealed, ephemeral=True)

    # -- those of others -------------------------------------------------------------------

    async def _follow(self) -> None:
        await self._server.folder(NODES)
        while True:
            self._news.clear()
            await self._look()
            self._answered(self._follow.__name__)
            if self._away_since is None:
                self._judge()
            with suppress(TimeoutError):
                async with asyncio.timeout(LIST_S if now() > self._grace_until else 1.0):
                    await self._news.wait()
            await asyncio.sleep(SETTLE_S)

    async def _look(self) -> None:
        """Read the folder, and every entry that is new or told of."""
        watch, self._watched = None if self._watched else self._listed, True
        try:
            names = set(await self._server.children(NODES, watch))
        except BaseException:
            self._watched = False
            raise
        for name in [name for name in self._entries if name not in names]:
            if now() > self._grace_until and self._away_since is None:
                self._drop(name)
        todo = [name for name in names if name in self._unread or name not in self._entries]
        await asyncio.gather(*(self._read(name) for name in todo))

    async def _read(self, name: str) -> None:
        self._unread.discard(name)
        try:
            found = await self._server.get(f"{NODES}/{name}", partial(self._told, name))
        except BaseException:
            self._unread.add(name)
            raise
        if found is None:  # gone again: the next look sees that
            self._news.set()
            return
        entry = self._entries.setdefault(name, _Entry())
        if entry.sealed == found.value:  # after an outage all are read again, however old
            return
        entry.sealed = found.value
        member = self._take(found.value, name) if found.session else None
        if member is not None:
            entry.node, entry.incarnation, entry.at = member.node, member.incarnation, now()

    def _judge(self) -> None:
        suspect_s, gone_s = STUCK_S
        for entry in self._entries.values():
            if entry.node is None:
                continue
            if now() - entry.at > gone_s:
                self._roster.lose(entry.node, entry.incarnation)
            elif now() - entry.at > suspect_s:
                self._roster.doubt(entry.node)

    def _drop(self, name: str) -> None:
        entry = self._entries.pop(name)
        self._unread.discard(name)
        if entry.node is not None:
            self._roster.lose(entry.node, entry.incarnation)

    def _listed(self) -> None:
        self._watched = False
        self._news.set()

    def _told(self, name: str) -> None:
        self._unread.add(name)
        self._news.set()
