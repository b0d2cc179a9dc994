"""What the directories that keep their entries in a server share: what to make of an entry.

An entry is a sealed beacon, as multicast would send it: the server is not trusted with what it
says, only with keeping it. One that does not open is ignored and counted. While the server cannot
be asked, silence means nothing: all members stay, and have some seconds to be heard again once it
is back.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

from csnode.clock import now
from csnode.directory.beacon import Address, Beacon, Says, Seal
from csnode.directory.directory import Member, Watcher
from csnode.directory.roster import News, Roster
from csnode.faults import Fault, Invalid
from csnode.log import logger
from csnode.types import NodeId

log = logger("directory")
RETRY_S = 0.25  # after the server could not be asked
BYE_S = 1.0  # that a goodbye may take
NOWHERE: Address = ("", 0)


class Loop(Protocol):
    """A method that goes on for ever."""

    __name__: str

    def __call__(self) -> Awaitable[None]: ...


class Board(Roster):
    """A roster that is told of absence by a server, not only by silence."""

    def doubt(self, node: NodeId) -> None:
        """Doubt the node: it is listed, and does not move."""
        heard = self._heard.get(node)
        if heard is not None and not heard.suspect:
            heard.suspect = True
            self._tell(heard.shown(), True)

    def lose(self, node: NodeId, incarnation: int) -> None:
        """Drop that start of the node: it is gone."""
        heard = self._heard.get(node)
        if heard is not None and heard.member.incarnation == incarnation:
            self._remove(node)

    def excuse(self, at: float) -> None:
        """Excuse everybody's silence until now."""
        for heard in self._heard.values():
            heard.at = at


class StoredDirectory(ABC):
    """Writes its own entry, and reads those of others."""

    server = ""  # its name, for people

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._roster = Board()
        self._beat = 0
        self._changed = asyncio.Event()  # our own record: write it now
        self._away_since: float | None = None
        self._failing: set[str] = set()  # the loops that could not ask last time
        self._strangers = 0
        self._namesake = False
        self._open = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    async def _connect(self, stack: AsyncExitStack) -> None:
        """Enter what is needed to ask the server, without waiting for it. Raises Invalid."""

    @abstractmethod
    def _loops(self) -> Iterable[Loop]:
        """Return what goes on for ever; each begins anew when the server could not be asked."""

    async def _part(self) -> None:
        """Tell others that we go. Raises what it likes."""

    def _returned(self) -> None:
        """React to a server that can be asked again."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            self._open = stack.pop_all()
        self._tasks = [asyncio.ensure_future(self._again(loop)) for loop in self._loops()]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._still()
        if self._roster.own is not None and self._away_since is None:
            with suppress(Fault, TimeoutError):
                async with asyncio.timeout(BYE_S):
                    await self._part()
        await self._open.aclose()

    def announce(self, member: Member) -> None:
        self._namesake = False
        if self._roster.own != member:
            self._roster.announce(member)
            self._changed.set()

    def members(self) -> Sequence[Member]:
        return self._roster.members()

    def watch(self, watcher: Watcher) -> None:
        self._roster.watch(watcher)

    def troubles(self) -> Sequence[str]:
        if self._away_since is None:
            return ()
        return (f"{self.server} has not answered for {now() - self._away_since:.0f} s",)

    # -- the server ------------------------------------------------------------------------

    async def _again(self, loop: Loop) -> None:
        while True:
            try:
                await loop()
            except Fault as fault:
                self._away(loop.__name__, f"{fault.message} {fault.detail}".rstrip())
            except Exception:
                log.exception("the directory broke", server=self.server)
            await asyncio.sleep(RETRY_S)

    def _away(self, loop: str, why: str) -> None:
        self._failing.add(loop)
        if self._away_since is None:
            self._away_since = now()
            log.warning(
                f"{self.server} cannot be asked; the members known stay",
                why=why,
                members=len(self._roster.members()),
            )

    def _answered(self, loop: str) -> None:
        """Note that the loop got what it asked for."""
        self._failing.discard(loop)
        if self._away_since is not None and not self._failing:
            away_s, self._away_since = now() - self._away_since, None
            log.info(f"{self.server} answers again", away_s=round(away_s, 1))
            self._roster.excuse(now())
            self._returned()

    async def _still(self) -> None:
        """End all loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    # -- entries ---------------------------------------------------------------------------

    def _sealed(self, own: Member, says: Says = Says.HERE) -> bytes:
        self._beat += 1
        return self._seal.packed(Beacon(says=says, beat=self._beat, member=own))

    def _take(self, sealed: bytes, name: str | None = None) -> Member | None:
        """Take in what an entry says, and return that; None if it is a stranger's.

        With a name, it must be the one that its node uses: a copy elsewhere is a stranger's too.
        """
        beacon = self._seal.opened(sealed)
        member = None if beacon is None else beacon.member
        if (
            beacon is None
            or member is None
            or member.cluster != self._seal.cluster
            or (name is not None and name != name_of(member))
        ):
            self._strangers += 1
            log.debug("not of this cluster", entry=name, so_far=self._strangers)
            return None
        own = self._roster.own
        if own is not None and member.node == own.node:
            self._meet_namesake(member, own)
        elif beacon.says is Says.BYE:
            self._roster.part(member, beacon.beat)
        elif self._roster.hear(member, beacon.beat, now(), NOWHERE) is News.NEWCOMER:
            log.debug("found", node=member.node)
        return member

    def _meet_namesake(self, member: Member, own: Member) -> None:
        """Meet our own entry, or else somebody else who has our name."""
        if member.incarnation > own.incarnation and not self._namesake:
            self._namesake = True
            log.error("another process has this node's name", node=own.node)


def name_of(member: Member) -> str:
    """Return the name of its entry: each start of a node has its own."""
    return f"{quote(member.node, safe='')}~{member.incarnation}"


def may_be_asked(hosts: Iterable[str], keyed: bool, section: str) -> None:
    """Raise Invalid if entries would leave this machine without being signed.

    Whoever can write an entry has calls sent to himself, so only loopback does without.
    """
    for host in hosts:
        if not keyed and not _is_loopback(host):
            raise Invalid(
                f"[{section}] {host}: a directory beyond this machine needs a credential;"
                " `csnode cluster init` or `csnode join` makes one"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in ("localhost", "")
