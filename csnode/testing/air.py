"""The air of a virtual world: what UDP multicast does to beacons."""

from __future__ import annotations

from contextvars import Context

from csnode.directory.beacon import Address, Seal
from csnode.directory.beating import BeatingDirectory
from csnode.directory.datagrams import Datagrams, Take
from csnode.testing.wire import Wire


class AirPost:
    """Where one process hears and says beacons: everybody in reach hears everybody."""

    def __init__(self, wire: Wire, owner: str, context: Context, take: Take) -> None:
        self.owner = owner
        self._wire, self.context, self._take = wire, context, take
        self.address: Address = (owner, 0)
        wire.posts.append(self)

    def send(self, datagram: bytes, to: Address) -> None:
        wire = self._wire
        for post in wire.posts:
            if to[0] not in ("", post.owner) or not wire.reach(self.owner, post.owner):
                continue
            if wire.weather.lost and wire.chance.random() < wire.weather.lost:
                continue
            if not wire.loop.is_asleep(post.owner):  # a socket's buffer keeps a few; a guess: none
                wire.loop.call_later(wire.delay(), post.arrive, datagram, self.address,
                                     context=post.context)  # fmt: skip

    def look(self) -> None: ...

    def close(self) -> None:
        if self in self._wire.posts:
            self._wire.posts.remove(self)

    def arrive(self, datagram: bytes, sender: Address) -> None:
        if self in self._wire.posts:
            self._take(datagram, sender)


class AirDirectory(BeatingDirectory):
    """The directory by multicast, through a virtual world's air."""

    def __init__(self, cluster: str, wire: Wire, owner: str, context: Context) -> None:
        super().__init__(Seal(cluster))
        self._air = (wire, owner, context)

    async def _open(self) -> Datagrams:
        return AirPost(*self._air, self._arrived)

    def _targets(self) -> tuple[Address, ...]:
        return (("", 0),)
