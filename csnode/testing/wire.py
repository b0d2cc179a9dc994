"""The wire of a virtual world: what ZeroMQ over TCP does to frames, and at times worse.

Between two processes a connection keeps order, and delays. When they cannot reach each other,
frames wait in it; after HEARTBEAT_S both ends know that it is lost, and what waited is lost too.
A process that ends resets its connections at once. Events may be lost, doubled and late, and
calls to components (never to the data service, whose commits are not idempotent) may arrive a
second time, as from a connection that was thought dead.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextvars import Context
from typing import Protocol

import msgspec

from csnode.bus.wiring import Asked
from csnode.context import Principal
from csnode.directory.beacon import Address
from csnode.testing.loop import SimLoop

Way = tuple[str, str]
"""From one machine to another, by name."""
CONNECT_S = 0.05


class Weather(msgspec.Struct):
    """How the wire is just now. Chances are per frame; seconds are drawn between two bounds."""

    delay_s: tuple[float, float] = (0.0002, 0.002)
    slow: float = 0.0  # the chance that a frame takes up to slow_s instead
    slow_s: float = 1.0
    lost: float = 0.0  # of an event
    doubled: float = 0.0  # of an event
    echoed: float = 0.0  # of calls to components: they arrive again, up to ECHO_S later
    silent: bool = False  # no event arrives at all


class Caller(Protocol):
    """The other end of a connection to a bound socket."""

    def answer(self, parts: list[bytes]) -> None:
        """Send it frames back."""
        ...

    def lose(self, reset: bool = False) -> None:
        """End the connection."""
        ...


class End(Protocol):
    """A socket that is not bound, of one start of one process."""

    owner: str

    def abort(self) -> None:
        """End it: the process is gone."""
        ...


class Hearer(End, Protocol):
    """A socket that hears events."""

    def hears(self, mouth: Door, channel: bytes) -> bool:
        """Tell whether it is attached there, and subscribed to the channel."""
        ...

    def take(self, parts: list[bytes]) -> None:
        """Take an event that is on its way."""
        ...


class Post(Protocol):
    """Where one start of one process hears beacons."""

    owner: str
    context: Context

    def arrive(self, datagram: bytes, sender: Address) -> None:
        """Take in a beacon that is there."""
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


class Still:
    """A Line of which most is nothing: it keeps no bytes, and is attached to nobody."""

    def write(self, data: Sequence[bytes]) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def forget(self) -> None: ...

    def subscribe(self, value: bytes) -> None: ...

    def attach(self, endpoint: str, key: str = "") -> None: ...

    def detach(self, endpoint: str) -> None: ...

    def drain(self) -> None: ...


class Door(Still):
    """A bound socket: a ROUTER with the connections made to it, or a PUB."""

    def __init__(self, wire: Wire, owner: str, context: Context, got: Asked) -> None:
        self.wire, self.owner, self.context, self.got = wire, owner, context, got
        self.open = True
        self.callers: dict[bytes, Caller] = {}

    def write(self, data: Sequence[bytes]) -> None:
        caller = self.callers.get(bytes(data[0]))
        if caller is not None:  # else it left; nobody is there to tell
            caller.answer([bytes(part) for part in data[1:]])

    def abort(self, linger_ms: int = 0) -> None:
        del linger_ms
        self.open = False
        for link in tuple(self.callers.values()):
            link.lose(reset=True)


class Wire:
    """All connections there are, and who reaches whom."""

    def __init__(self, loop: SimLoop, chance: random.Random) -> None:
        self.weather = Weather()
        self.loop, self.chance = loop, chance
        self.doors: dict[str, Door] = {}  # by endpoint
        self.links: list[End] = []
        self.ears: list[Hearer] = []
        self.posts: list[Post] = []
        self.principals: dict[str, Principal] = {}  # by machine; none: nothing is proved
        self.cuts: list[frozenset[Way]] = []  # each: ways that no frame gets through
        self._sides: dict[str, int] = {}  # by process; a partition's two sides, or more
        self._ends = 0

    def partition(self, sides: dict[str, int]) -> None:
        """Let only processes of the same side reach each other from now on; {}: all do."""
        self._sides = dict(sides)

    def reach(self, one: str, other: str) -> bool:
        """Tell whether a frame from one arrives at the other just now."""
        one, other = _process(one), _process(other)
        if one == other:
            return True
        if self.cuts:
            way = (one.partition(".")[0], other.partition(".")[0])
            if any(way in cut for cut in self.cuts):
                return False
        return self._sides.get(one, 0) == self._sides.get(other, 0)

    def meet(self, one: str, other: str) -> bool:
        """Tell whether frames arrive both ways, as a connection needs."""
        return self.reach(one, other) and self.reach(other, one)

    def machine(self, owner: str) -> str:
        """Return where it runs.

        That is its key too, in a world where everybody tells the truth about that.
        """
        return _process(owner).partition(".")[0]

    def delay(self) -> float:
        """Return how long the next frame takes."""
        weather = self.weather
        if weather.slow and self.chance.random() < weather.slow:
            return self.chance.uniform(weather.delay_s[1], weather.slow_s)
        return self.chance.uniform(*weather.delay_s)

    def end(self, owner: str) -> None:
        """End a process: its sockets go with it, and whoever is connected soon knows."""
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
        """Return a number that no end of a connection had before."""
        self._ends += 1
        return self._ends


def _process(owner: str) -> str:
    """Return the process's name, without the number of its start."""
    return owner.partition("#")[0]
