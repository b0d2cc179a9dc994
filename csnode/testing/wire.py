"""The wire of a virtual world: what ZeroMQ over TCP does to frames, and at times worse.

Between two processes a connection keeps order, and delays. When they cannot reach each other,
frames wait in it; after HEARTBEAT_S both ends know that it is lost, and what waited is lost too.
A process that ends resets its connections at once. Events may be lost, doubled and late, and
calls to components (never to the data service, whose commits are not idempotent) may arrive a
second time, as from a connection that was thought dead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

import msgspec

from csnode.bus.wiring import Asked, Got, Line
from csnode.context import Principal
from csnode.testing.air import AirPost
from csnode.testing.link import CONNECT_S, Link, Still
from csnode.testing.loop import SimLoop

Way = tuple[str, str]
"""From one machine to another, by name."""


class Weather(msgspec.Struct):
    """How the wire is just now. Chances are per frame; seconds are drawn between two bounds."""

    delay_s: tuple[float, float] = (0.0002, 0.002)
    slow: float = 0.0  # the chance that a frame takes up to slow_s instead
    slow_s: float = 1.0
    lost: float = 0.0  # of an event
    doubled: float = 0.0  # of an event
    echoed: float = 0.0  # of calls to components: they arrive again, up to ECHO_S later
    silent: bool = False  # no event arrives at all


class Wire:
    """All connections there are, and who reaches whom."""

    def __init__(self, loop: SimLoop, chance: random.Random) -> None:
        self.weather = Weather()
        self.loop, self.chance = loop, chance
        self.doors: dict[str, Door] = {}  # by endpoint
        self.links: list[Link] = []
        self.ears: list[Ear] = []
        self.posts: list[AirPost] = []
        self.principals: dict[str, Principal] = {}  # by machine; none: nothing is proved
        self.cuts: list[frozenset[Way]] = []  # each: ways that no frame gets through
        self._sides: dict[str, int] = {}  # by process; a partition's two sides, or more
        self._ends = 0

    def partition(self, sides: dict[str, int]) -> None:
        """From now on only processes of the same side reach each other; {}: all do."""
        self._sides = dict(sides)

    def reach(self, one: str, other: str) -> bool:
        """Whether a frame from one arrives at the other just now."""
        one, other = _process(one), _process(other)
        if one == other:
            return True
        if self.cuts:
            way = (one.partition(".")[0], other.partition(".")[0])
            if any(way in cut for cut in self.cuts):
                return False
        return self._sides.get(one, 0) == self._sides.get(other, 0)

    def meet(self, one: str, other: str) -> bool:
        """Whether frames arrive both ways, as a connection needs."""
        return self.reach(one, other) and self.reach(other, one)

    def machine(self, owner: str) -> str:
        """Where it runs; its key too, in a world where everybody tells the truth about that."""
        return _process(owner).partition(".")[0]

    def delay(self) -> float:
        """How long the next frame takes."""
        weather = self.weather
        if weather.slow and self.chance.random() < weather.slow:
            return self.chance.uniform(weather.delay_s[1], weather.slow_s)
        return self.chance.uniform(*weather.delay_s)

    def wiring(self, owner: str, context: Context) -> WireWiring:
        """The sockets of one start of one process."""
        return WireWiring(self, owner, context)

    def end(self, owner: str) -> None:
        """The process is gone: its sockets with it, and whoever is connected soon knows."""
        for endpoint in [e for e, d in self.doors.items() if d.owner == owner]:
            self.doors.pop(endpoint).abort()
        for link in [k for k in self.links if k.owner == owner]:
            link.abort()
        for ear in [e for e in self.ears if e.owner == owner]:
            ear.abort()
        for post in [p for p in self.posts if p.owner == owner]:
            post.close()

    def endpoint(self, owner: str) -> str:
        return f"sim://{_process(owner)}/{self.next_end()}"

    def next_end(self) -> int:
        """A number that no end of a connection had before."""
        self._ends += 1
        return self._ends


class Door(Still):
    """A bound socket: a ROUTER with the connections made to it, or a PUB."""

    def __init__(self, wire: Wire, owner: str, context: Context, got: Asked) -> None:
        self.wire, self.owner, self.context, self.got = wire, owner, context, got
        self.open = True
        self.callers: dict[bytes, Link] = {}

    def write(self, data: Sequence[bytes]) -> None:
        caller = self.callers.get(bytes(data[0]))
        if caller is not None:  # else it left; nobody is there to tell
            caller.back.send([bytes(part) for part in data[1:]])

    def abort(self, linger_ms: int = 0) -> None:
        del linger_ms
        self.open = False
        for link in tuple(self.callers.values()):
            link.lose(reset=True)


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
        self._prefixes: list[bytes] = []
        self._since: dict[str, float] = {}  # endpoint -> when the subscription stands there
        wire.ears.append(self)

    def hears(self, mouth: Door, channel: bytes) -> bool:
        now = self.wire.loop.moment
        for endpoint, since in self._since.items():
            if self.wire.doors.get(endpoint) is mouth:
                return since <= now and any(channel.startswith(p) for p in self._prefixes)
        return False

    def take(self, parts: list[bytes]) -> None:
        """Late ones may be overtaken: a reader that missed some asks, and one connection would
        keep their order, but an event is a hint and nobody may lean on more than that."""
        loop = self.wire.loop
        loop.call_later(self.wire.delay(), self._arrive, parts, context=self.context)

    def _arrive(self, parts: list[bytes]) -> None:
        if self._open:
            self._got(parts)

    def subscribe(self, value: bytes) -> None:
        self._prefixes.append(value)

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


def _process(owner: str) -> str:
    """The process's name, without the number of its start."""
    return owner.partition("#")[0]


def _nothing(_: Any, __: str) -> None:
    """A PUB receives nothing."""
