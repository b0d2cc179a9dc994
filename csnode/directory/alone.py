"""The directory of a node that is alone: it knows itself, and talks to nobody."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from csnode.directory.directory import Member, Watcher
from csnode.types import NodeId


class Meeting:
    """Where the directories of one process meet: all nodes of a virtual world share one."""

    def __init__(self) -> None:
        self.members: dict[NodeId, Member] = {}
        self.watchers: list[Watcher] = []

    def tell(self, member: Member, present: bool) -> None:
        for watcher in tuple(self.watchers):
            watcher(member, present)


class AloneDirectory:
    """Members are those that announce themselves at the same meeting, by default only us."""

    def __init__(self, meeting: Meeting | None = None) -> None:
        self._meeting = meeting or Meeting()
        self._own: set[NodeId] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self._own:
            if gone := self._meeting.members.pop(node, None):
                self._meeting.tell(gone, False)

    def announce(self, member: Member) -> None:
        self._own.add(member.node)
        self._meeting.members[member.node] = member
        self._meeting.tell(member, True)

    def members(self) -> Sequence[Member]:
        return [self._meeting.members[node] for node in sorted(self._meeting.members)]

    def watch(self, watcher: Watcher) -> None:
        for member in self.members():
            watcher(member, True)
        self._meeting.watchers.append(watcher)

    def troubles(self) -> Sequence[str]:
        return ()
