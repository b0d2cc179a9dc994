"""The sockets of a virtual world's processes: what the bus has of the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from csnode.bus.wiring import Asked, Got, Line
from csnode.context import Principal
from csnode.testing.link import Link
from csnode.testing.wire import CONNECT_S, Door, Still, Wire


class Mouth(Door):
    """A PUB: what is written goes to every ear that is attached and subscribed."""

    def write(self, data: Sequence[bytes]) -> None:
        wire, weather, chance = self.wire, self.wire.weather, self.wire.chance
        parts = [bytes(part) for part in data]
        for ear in wire.ears:
            if not ear.hears(self, parts[0]) or weather.silent:
                continue
            if not wire.reach(self.owner, ear.owner):
                continue
            times = 1
            if weather.lost and chance.random() < weather.lost:
                times = 0
            elif weather.doubled and chance.random() < weather.doubled:
                times = 2
            for _ in range(times):
                ear.take(parts)


class Ear(Still):
    """A SUB."""

    def __init__(self, wire: Wire, owner: str, context: Context, got: Got) -> None:
        self.wire, self.owner, self.context, self._got = wire, owner, context, got
        self._open = True
        self._prefixes: tuple[bytes, ...] = ()
        self._since: dict[str, float] = {}  # endpoint -> when the subscription stands there
        wire.ears.append(self)

    def hears(self, mouth: Door, channel: bytes) -> bool:
        now = self.wire.loop.moment
        for endpoint, since in self._since.items():
            if self.wire.doors.get(endpoint) is mouth:
                return since <= now and channel.startswith(self._prefixes)
        return False

    def take(self, parts: list[bytes]) -> None:
        """Take events, of which late ones may be overtaken.

        A reader that missed some asks. One connection would keep their order, but an event is a
        hint and nobody may lean on more than that.
        """
        loop = self.wire.loop
        loop.call_later(self.wire.delay(), self._arrive, parts, context=self.context)

    def _arrive(self, parts: list[bytes]) -> None:
        if self._open:
            self._got(parts)

    def subscribe(self, value: bytes) -> None:
        self._prefixes += (value,)

    def attach(self, endpoint: str, key: str = "") -> None:
        del key
        self._since[endpoint] = self.wire.loop.moment + CONNECT_S

    def detach(self, endpoint: str) -> None:
        self._since.pop(endpoint, None)

    def abort(self, linger_ms: int = 0) -> None:
        del linger_ms
        self._open = False
        if self in self.wire.ears:
            self.wire.ears.remove(self)


class WireWiring:
    """The Wiring of one start of one process."""

    def __init__(self, wire: Wire, owner: str, context: Context) -> None:
        self._wire, self._owner, self._context = wire, owner, context
        self._lines: list[Line] = []

    @property
    def proves(self) -> bool:
        return bool(self._wire.principals)

    @property
    def key(self) -> str:
        return self._wire.machine(self._owner) if self.proves else ""

    def own(self) -> Principal | None:
        return self.who(self.key)

    def who(self, key: str) -> Principal | None:
        return self._wire.principals.get(key)

    def answering(self, address: str, port: int, got: Asked) -> tuple[Line, str]:
        del address, port
        return self._bound(Door(self._wire, self._owner, self._context, got))

    def publishing(self, address: str, port: int) -> tuple[Line, str]:
        del address, port
        return self._bound(Mouth(self._wire, self._owner, self._context, _nothing))

    def asking(
        self, endpoint: str, got: Got, changed: Callable[[bool], None], key: str = ""
    ) -> Line:
        del key
        link = Link(self._wire, self._owner, self._context, endpoint, got, changed)
        self._lines.append(link)
        return link

    def hearing(self, got: Got) -> Line:
        ear = Ear(self._wire, self._owner, self._context, got)
        self._lines.append(ear)
        return ear

    async def close(self) -> None:
        for line in self._lines:
            line.abort()

    def _bound(self, door: Door) -> tuple[Line, str]:
        endpoint = self._wire.endpoint(self._owner)
        self._wire.doors[endpoint] = door
        self._lines.append(door)
        return door, endpoint


def _nothing(_: Any, __: str) -> None:
    """Do nothing: a PUB receives nothing."""
