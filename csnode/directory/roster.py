"""The roster: who was heard, when, and what they said last. It sends nothing and reads no clock."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import msgspec
from msgspec.structs import replace

from csnode import metrics
from csnode.directory.beacon import Address
from csnode.directory.directory import Health, Member, Watcher
from csnode.types import NodeId

SUSPECT_S = 2.5  # of silence: two beacons were lost, or the node is in trouble
GONE_S = 5.0


class News(Enum):
    """What a beacon told us."""

    OLD = auto()  # nothing: heard before, or sent again by somebody else
    ALIVE = auto()
    NEWCOMER = auto()


class _Heard(msgspec.Struct):
    member: Member
    at: float
    address: Address
    suspect: bool = False

    def shown(self) -> Member:
        return replace(self.member, health=Health.SUSPECT) if self.suspect else self.member


class Roster:
    """Members by node, and those who watch them come and go."""

    def __init__(self) -> None:
        self.own: Member | None = None
        self._heard: dict[NodeId, _Heard] = {}
        self._stamps: dict[NodeId, tuple[int, int]] = {}  # kept when they leave, against replays
        self._watchers: list[Watcher] = []

    def members(self) -> Sequence[Member]:
        """Return everybody alive, sorted by node."""
        found = {node: heard.shown() for node, heard in self._heard.items()}
        if self.own is not None:
            found[self.own.node] = self.own
        return [found[node] for node in sorted(found)]

    def addresses(self) -> list[Address]:
        """Return where the others were heard from."""
        return [heard.address for heard in self._heard.values()]

    def watch(self, watcher: Watcher) -> None:
        """Tell the watcher of everybody now, and of every change from now on."""
        for member in self.members():
            watcher(member, True)
        self._watchers.append(watcher)

    def announce(self, member: Member) -> None:
        """Note what we ourselves are now."""
        self.own = member
        self._tell(member, True)

    def hear(self, member: Member, beat: int, at: float, address: Address) -> News:
        """Take in that a node said it is there; return what is new about that."""
        if not self._newer(member, beat):
            return News.OLD
        before = self._heard.get(member.node)
        now = self._heard[member.node] = _Heard(member, at, address)
        if before is None or before.shown() != now.member:
            self._tell(member, True)
        new = before is None or before.member.incarnation != member.incarnation
        return News.NEWCOMER if new else News.ALIVE

    def part(self, member: Member, beat: int) -> None:
        """Take in that a node said goodbye."""
        if self._newer(member, beat):
            self._remove(member.node)

    def sweep(self, at: float) -> list[Address]:
        """Take note of silence. Returns where those are who only now became suspect."""
        suspects: list[Address] = []
        for node, heard in list(self._heard.items()):
            silent_s = at - heard.at
            if silent_s >= GONE_S:
                self._remove(node)
            elif silent_s >= SUSPECT_S and not heard.suspect:
                heard.suspect = True
                suspects.append(heard.address)
                self._tell(heard.shown(), True)
        return suspects

    def next_sweep(self, at: float) -> float:
        """Return seconds until somebody's silence may have to be noted."""
        due = [h.at + (GONE_S if h.suspect else SUSPECT_S) for h in self._heard.values()]
        return max(0.05, min(due, default=at + SUSPECT_S) - at)

    def _newer(self, member: Member, beat: int) -> bool:
        stamp = (member.incarnation, beat)
        if stamp <= self._stamps.get(member.node, (-1, -1)):
            return False
        self._stamps[member.node] = stamp
        return True

    def _remove(self, node: NodeId) -> None:
        if gone := self._heard.pop(node, None):
            self._tell(gone.member, False)

    def _tell(self, member: Member, present: bool) -> None:
        metrics.MEMBERS.set(len(self._heard) + (self.own is not None))
        for watcher in tuple(self._watchers):
            watcher(member, present)
