"""What the directories that live on beacons share: when to send one, and what to make of it.

A node that starts sends a burst (0, 0.1, 0.3 and 0.9 s), then about one beacon a second; whoever
hears a newcomer answers it directly, so all know each other in less than a second.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from csnode import uuids
from csnode.clock import now
from csnode.directory.beacon import MEMBER_MAX, Address, Beacon, Says, Seal
from csnode.directory.datagrams import Datagrams
from csnode.directory.directory import Member, Watcher
from csnode.directory.roster import News, Roster
from csnode.faults import Invalid
from csnode.log import logger

log = logger("directory")
BURST_S = (0.1, 0.2, 0.6)  # between the first four beacons
BEAT_S = (0.8, 1.2)  # between all others, at random, or all nodes would end up in step
REPLY_S = 0.002  # a member: how long replies to a newcomer are spread over, at most REPLY_MAX_S
REPLY_MAX_S = 0.2


class BeatingDirectory(ABC):
    """Sends beacons wherever `_targets` says, and keeps a roster of those it hears."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._roster = Roster()
        self._beat = 0
        self._post: Datagrams | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._gaps: Iterator[float] = iter(BURST_S)
        self._strangers = 0
        self._namesake = False

    @abstractmethod
    async def _open(self) -> Datagrams:
        """Open where to hear and to say; what comes goes to `_take`. Raises Invalid."""

    @abstractmethod
    def _targets(self) -> Iterable[Address]:
        """Return where a beacon for everybody goes."""

    def _others(self) -> tuple[Address, ...]:
        """Return addresses worth telling others."""
        return ()

    def _learn(self, beacon: Beacon) -> None:
        """Note the addresses that a beacon tells of."""

    async def __aenter__(self) -> Self:
        self._post = await self._open()
        self._tick()
        self._sweep()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._roster.own is not None:
            for _ in range(2):  # one may get lost
                self._say(Says.BYE)
        self._close()

    def announce(self, member: Member) -> None:
        if len(self._seal.packed(Beacon(says=Says.HERE, member=member))) > MEMBER_MAX:
            raise Invalid(
                f"{member.node} serves too many hosts and pools to announce in one datagram;"
                " split it into several nodes"
            )
        before, self._namesake = self._roster.own, False
        self._roster.announce(member)
        if before is None:
            self._gaps = iter(BURST_S)
            self._tick()
        elif before != member:
            self._later("changed", 0, self._say)

    def members(self) -> Sequence[Member]:
        return self._roster.members()

    def watch(self, watcher: Watcher) -> None:
        self._roster.watch(watcher)

    def troubles(self) -> Sequence[str]:
        return ()  # it asks nobody: who is not heard is gone, as far as it knows

    # -- saying ----------------------------------------------------------------------------

    def _tick(self) -> None:
        self._say(Says.HERE if self._roster.own else Says.WHO)
        gap = next(self._gaps, None)
        self._later("tick", uuids.source.uniform(*BEAT_S) if gap is None else gap, self._tick)

    def _say(self, says: Says = Says.HERE, to: Iterable[Address] | None = None) -> None:
        self._beat += 1
        beacon = Beacon(says=says, beat=self._beat, member=self._roster.own, others=self._others())
        datagram = self._seal.packed(beacon)
        for address in self._targets() if to is None else to:
            if self._post is not None:
                self._post.send(datagram, address)

    def _reply(self, to: Address) -> None:
        if self._roster.own is not None and self._post is not None:
            self._say(Says.HERE, (to,))

    def _later(self, name: str, delay_s: float, act: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, act)

    # -- hearing ---------------------------------------------------------------------------

    def _arrived(self, datagram: bytes, sender: Address) -> None:
        self._take(datagram, sender)

    def _take(self, datagram: bytes, sender: Address) -> None:
        beacon = self._seal.opened(datagram)
        if beacon is None:
            self._strangers += 1
            log.debug("not of this cluster", sender=sender[0], so_far=self._strangers)
        else:
            self._hear(beacon, sender)

    def _hear(self, beacon: Beacon, address: Address) -> None:
        member, own = beacon.member, self._roster.own
        if member is None:
            self._learn(beacon)
            self._reply(address)
            return
        if member.cluster != self._seal.cluster:
            return
        if own is not None and member.node == own.node:
            self._meet_namesake(member, own, address)
            return
        if beacon.says is Says.BYE:
            self._roster.part(member, beacon.beat)
            return
        news = self._roster.hear(member, beacon.beat, now(), address)
        if news is News.OLD:
            return
        self._learn(beacon)
        if beacon.says is Says.WHO:
            self._reply(address)
        elif news is News.NEWCOMER:
            spread = min(REPLY_MAX_S, REPLY_S * len(self._roster.members()))
            delay = uuids.source.uniform(0, spread)
            asyncio.get_running_loop().call_later(delay, self._reply, address)

    def _meet_namesake(self, member: Member, own: Member, address: Address) -> None:
        """Meet our own beacon that comes back to us, or else somebody who has our name."""
        if member.incarnation > own.incarnation and not self._namesake:
            self._namesake = True
            log.error("another process has this node's name", node=own.node, sender=address[0])

    def _sweep(self) -> None:
        if self._post is not None:  # if it was us who slept, they were not silent
            self._post.look()
        suspects = self._roster.sweep(now())
        if suspects and self._roster.own is not None:
            self._say(Says.WHO, suspects)
        self._later("sweep", self._roster.next_sweep(now()), self._sweep)

    def _close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if self._post is not None:
            self._post.close()
        self._post = None
