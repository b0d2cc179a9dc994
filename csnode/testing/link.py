"""A connection of a virtual world's wire: in order, delayed, and lost at times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context

import msgspec

from csnode.bus.envelope import Request, asked
from csnode.bus.wiring import Got
from csnode.testing.wire import CONNECT_S, Door, Still, Wire

HEARTBEAT_S = 3.0  # as csnode.bus.transport sets it
STEP_S = 1e-7  # between two frames that would arrive together: order is kept
ECHO_S = 30.0


class Flow:
    """One direction of a connection: in order; it waits while the ends cannot reach each other."""

    def __init__(self, wire: Wire, sender: str, receiver: str, context: Context, got: Got) -> None:
        self._wire, self._sender, self._receiver = wire, sender, receiver
        self._context, self._got = context, got
        self._last = 0.0
        self.waiting: list[list[bytes]] = []
        self.open = True

    def send(self, parts: list[bytes]) -> None:
        if self.waiting or not self._wire.reach(self._sender, self._receiver):
            self.waiting.append(parts)
            return
        loop = self._wire.loop
        self._last = max(self._last + STEP_S, loop.moment + self._wire.delay())
        loop.call_at_moment(self._last, self._arrive, parts, context=self._context)

    def retry(self) -> None:
        """Send again what waits, if they may reach each other again."""
        if self.waiting and self._wire.reach(self._sender, self._receiver):
            waiting, self.waiting = self.waiting, []
            for parts in waiting:
                self.send(parts)

    def _arrive(self, parts: list[bytes]) -> None:
        if self.open:
            self._got(parts)


class Link(Still):
    """A DEALER with its connection to a ROUTER; it connects again when that is lost."""

    def __init__(
        self, wire: Wire, owner: str, context: Context, endpoint: str, got: Got,
        changed: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self._wire, self.owner, self._context = wire, owner, context
        self._endpoint, self._got, self._changed = endpoint, got, changed
        self._door: Door | None = None
        self._silent_since: float | None = None
        self._closed = False
        self._identity = b""
        self._looking = self._later(CONNECT_S)
        wire.links.append(self)

    # -- the connection ----------------------------------------------------------------------

    def _later(self, seconds: float) -> asyncio.TimerHandle:
        """Look again later; the network's own work goes on while a process sleeps."""
        return self._wire.loop.call_later(seconds, self._look, context=Context())

    def _look(self) -> None:
        if self._closed:
            return
        door = self._door
        if door is None:
            self._try_connect()
        else:
            asleep = self._wire.loop.is_asleep
            parted = not self._wire.meet(self.owner, door.owner)
            if parted or asleep(self.owner) or asleep(door.owner):
                now = self._wire.loop.moment
                self._silent_since = now if self._silent_since is None else self._silent_since
                if now - self._silent_since >= HEARTBEAT_S:
                    self.lose()
            else:
                self._silent_since = None
                self.there.retry()
                self.back.retry()
        self._looking = self._later(0.5 if self._door else self._wire.chance.uniform(0.05, 0.5))

    def _try_connect(self) -> None:
        door = self._wire.doors.get(self._endpoint)
        asleep = self._wire.loop.is_asleep
        if door is None or not door.open or asleep(door.owner) or asleep(self.owner):
            return
        if not self._wire.meet(self.owner, door.owner):
            return
        self._identity = b"%d" % self._wire.next_end()
        self._door, self._silent_since = door, None
        identity, served, key = self._identity, door, self._wire.machine(self.owner)
        self.there = Flow(self._wire, self.owner, door.owner, door.context,
                           lambda parts: served.got([identity, *parts], key))  # fmt: skip
        self.back = Flow(self._wire, door.owner, self.owner, self._context, self._got)
        door.callers[identity] = self
        self._tell(True)

    def _tell(self, up: bool) -> None:
        self._wire.loop.call_soon(self._told, up, context=self._context)

    def _told(self, up: bool) -> None:
        if not self._closed:
            self._changed(up)

    def lose(self, reset: bool = False) -> None:
        """End the connection.

        What was under way to a process that ended is lost at once; else what has left may still
        arrive.
        """
        door, self._door = self._door, None
        if door is None:
            return
        door.callers.pop(self._identity, None)
        if reset:
            self.there.open = False
        self.there.waiting.clear()
        self.back.waiting.clear()
        self.back.open = False
        self._tell(False)

    # -- the socket --------------------------------------------------------------------------

    def write(self, data: Sequence[bytes]) -> None:
        if self._door is None:  # what is not connected gets nothing to lose
            return
        parts = [bytes(part) for part in data]
        self.there.send(parts)
        weather = self._wire.weather
        if weather.echoed and self._wire.chance.random() < weather.echoed:
            self._echo(self._door, parts[-1])

    def _echo(self, door: Door, frame: bytes) -> None:
        """Let the calls to components in the frame arrive again; nobody hears the answer."""
        calls = [r for r in asked(frame) if isinstance(r, Request) and not _counts(r)]
        if calls:
            again = msgspec.msgpack.encode(calls)
            wire = self._wire
            late = wire.chance.uniform(0.01, ECHO_S if wire.chance.random() < 0.3 else 1.0)
            again_from = b"echo-%d" % wire.next_end()
            key = wire.machine(self.owner)
            wire.loop.call_later(late, _again, door, again_from, again, key, context=door.context)

    def answer(self, parts: list[bytes]) -> None:
        """Send what the other end sends back."""
        self.back.send(parts)

    def abort(self, linger_ms: int = 0) -> None:
        del linger_ms
        self.lose()
        self._closed = True
        self._looking.cancel()
        if self in self._wire.links:
            self._wire.links.remove(self)


def _again(door: Door, caller: bytes, frame: bytes, key: str) -> None:
    if door.open:
        door.got([caller, frame], key)


def _counts(request: Request) -> bool:
    return request.method.startswith("Data.")
