"""What every bus must do. Subclass it and say how nodes join; see tests/contract/test_bus.py."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, Protocol

import pytest

from csnode.bus.bus import Bus
from csnode.bus.event import Event
from csnode.bus.service import Service, within
from csnode.context import acting, current
from csnode.faults import Broken, Conflict, Full, NotFound, Stale, Unavailable
from csnode.testing.patience import Patience
from csnode.types import Message, VmId

PATIENCE_S = 10.0


class Colour(StrEnum):
    """An enum, as an argument."""

    RED = "red"


class Square(Message, tag="square"):
    """One of two shapes."""

    side: int


class Circle(Message, tag="circle"):
    """The other."""

    radius: float
    centre: tuple[int, int] = (0, 0)


class Everything(Message):
    """A message with a field of each kind that contracts use."""

    text: str
    number: int
    ratio: float
    blob: bytes
    colour: Colour
    maybe: str | None
    shapes: tuple[Square | Circle, ...]
    names: dict[VmId, Colour]
    within: Square | None = None


class Ping(Service, Protocol):
    """A contract made for tests."""

    async def echo(self, value: Everything, extra: dict[str, Any], flag: bool) -> Everything:
        """Return what was given."""
        ...

    @within(seconds=120)  # a thousand at once on a machine that is busy with others
    async def mapped(self, names: tuple[str, ...]) -> dict[VmId, Colour]:
        """Map each name, to red."""
        ...

    async def nothing(self) -> None:
        """Take no argument, and give no answer."""
        ...

    async def who(self) -> str:
        """Return the name of whoever answers."""
        ...

    async def fail(self, kind: str) -> str:
        """Raise that kind of Fault."""
        ...

    async def circumstances(self) -> tuple[str, str, int]:
        """Return trace, caller and fence that the call runs under."""
        ...

    @within(seconds=60)
    async def wait(self) -> None:
        """Wait until it is cancelled."""
        ...

    @within(seconds=0.3)
    async def wait_in_vain(self) -> None:
        """Wait too, with little time."""
        ...


class Pong(Ping):
    """Serves Ping."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.waiting = self.begun = self.cancelled = 0

    async def echo(self, value: Everything, extra: dict[str, Any], flag: bool) -> Everything:
        assert flag
        assert extra == {"a": 1, "b": None}
        return value

    async def mapped(self, names: tuple[str, ...]) -> dict[VmId, Colour]:
        return {VmId(name): Colour.RED for name in names}

    async def nothing(self) -> None:
        return None

    async def who(self) -> str:
        return self.name

    async def fail(self, kind: str) -> str:
        faults: dict[str, Exception] = {
            "missing": NotFound("no such thing", detail="looked everywhere"),
            "stale": Stale("it moved on"),
            "full": Full("no room", code=535, cs=9999),
            "bug": ZeroDivisionError("a bug"),
        }
        raise faults[kind]

    async def circumstances(self) -> tuple[str, str, int]:
        context = current()
        return context.trace, context.caller, context.fence

    async def wait(self) -> None:
        self.begun += 1
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    async def wait_in_vain(self) -> None:
        await self.wait()


class Said(Event):
    """An event made for tests."""

    who: str
    number: int

    @property
    def topic(self) -> str:
        return self.who


class Noise(Event):
    """An event that nobody subscribes to."""

    number: int


THINGS = Everything(
    text="Grüße",
    number=2**53,
    ratio=0.5,
    blob=b"\x00\xff",
    colour=Colour.RED,
    maybe=None,
    shapes=(Square(side=2), Circle(radius=1.5, centre=(1, 2))),
    names={VmId("v1"): Colour.RED},
)


async def until(fact: Callable[[], object]) -> None:
    """Wait until the fact holds; fails after ten seconds of a machine at rest."""
    patience = Patience(PATIENCE_S)
    while not fact():
        assert not patience.over, f"it did not come true in {patience}"
        await asyncio.sleep(0.005)


class Nodes(Protocol):
    """Nodes of one cloud, as a test makes them."""

    async def join(self, name: str) -> Bus:
        """Return a new node's bus."""
        ...

    def tell(self, name: str) -> None:
        """Announce what the node serves now."""
        ...

    async def leave(self, name: str) -> None:
        """Make the node go."""
        ...

    async def hears(self, listener: Bus, speaker: Bus) -> None:
        """Wait until events of the one reach the other, who subscribed to Said already."""
        ...


class BusSuite:
    """The rules of csnode.bus.bus, as tests."""

    @abstractmethod
    def cloud(self) -> AbstractAsyncContextManager[Nodes]:
        """Return an empty cloud."""

    async def test_every_kind_of_argument_arrives_as_it_was(self) -> None:
        async with self.cloud() as nodes:
            ping = await self.ping(nodes)
            assert await ping.echo(THINGS, {"a": 1, "b": None}, True) == THINGS
            assert await ping.mapped(("x", "y")) == {VmId("x"): Colour.RED, VmId("y"): Colour.RED}
            assert type((await ping.mapped(("x",)))[VmId("x")]) is Colour

    async def test_a_call_may_take_and_answer_nothing(self) -> None:
        async with self.cloud() as nodes:
            ping = await self.ping(nodes)
            nothing: object = await ping.nothing()  # type: ignore[reportUnknownVariableType]
            assert nothing is None

    async def test_a_fault_arrives_as_itself(self) -> None:
        async with self.cloud() as nodes:
            ping = await self.ping(nodes)
            with pytest.raises(NotFound) as missing:
                await ping.fail("missing")
            assert missing.value.message == "no such thing"
            assert missing.value.detail == "looked everywhere"
            with pytest.raises(Stale) as stale:
                await ping.fail("stale")
            assert isinstance(stale.value, Conflict)
            with pytest.raises(Full) as full:
                await ping.fail("full")
            assert (full.value.code, full.value.cs) == (535, 9999)

    async def test_a_bug_of_the_server_is_broken_and_says_no_more(self) -> None:
        async with self.cloud() as nodes:
            ping = await self.ping(nodes)
            with pytest.raises(Broken, match=r"unexpected error in Ping\.fail"):
                await ping.fail("bug")
            assert await ping.who() == "server"

    async def test_a_call_that_nobody_serves_is_unavailable(self) -> None:
        async with self.cloud() as nodes:
            bus = await nodes.join("alone")
            with pytest.raises(Unavailable, match="nobody serves Ping at h9"):
                await bus.ask(Ping, at="h9").who()

    async def test_a_call_too_late_is_unavailable_and_ends_at_its_server(self) -> None:
        async with self.cloud() as nodes:
            pong = Pong()
            ping = await self.ping(nodes, pong)
            with pytest.raises(Unavailable, match=r"did not answer within 0\.3 s"):
                await ping.wait_in_vain()
            await until(lambda: pong.cancelled == 1)

    async def test_a_cancelled_call_ends_at_its_server(self) -> None:
        async with self.cloud() as nodes:
            pong = Pong()
            ping = await self.ping(nodes, pong)
            call = asyncio.ensure_future(ping.wait())
            await until(lambda: pong.waiting == 1)
            call.cancel()
            await until(lambda: pong.cancelled == 1)
            assert call.cancelled()

    async def test_a_call_runs_under_its_callers_context(self) -> None:
        async with self.cloud() as nodes:
            ping = await self.ping(nodes)
            with acting(trace="ab" * 16, caller="tests@caller", fence=7):
                seen = await ping.circumstances()
            assert seen == ("ab" * 16, "tests@caller", 7)
            assert await ping.circumstances() == ("", "", 0)

    async def test_a_call_at_a_place_goes_there(self) -> None:
        async with self.cloud() as nodes:
            caller = await nodes.join("caller")
            for name in ("one", "two"):
                bus = await nodes.join(name)
                bus.serve(Pong(name), at=(f"{name}-a", f"{name}-b"))
                nodes.tell(name)
            for place in ("two-a", "one-b", "one-a", "two-b"):
                assert await caller.ask(Ping, at=place).who() == place[:3]
            with pytest.raises(Unavailable):
                await caller.ask(Ping, at="three-a").who()

    async def test_a_retired_server_is_asked_no_more(self) -> None:
        async with self.cloud() as nodes:
            server, pong = await nodes.join("server"), Pong()
            server.serve(pong)
            nodes.tell("server")
            caller = await nodes.join("caller")
            await caller.ask(Ping).nothing()
            server.retire(pong)
            nodes.tell("server")
            with pytest.raises(Unavailable):
                await caller.ask(Ping).nothing()

    async def test_a_thousand_calls_at_once_are_each_answered(self) -> None:
        async with self.cloud() as nodes:
            ping = await self.ping(nodes)
            names = [(str(n), "x" * (n % 700)) for n in range(1000)]
            answers = await asyncio.gather(*(ping.mapped(pair) for pair in names))
            assert [tuple(answer) for answer in answers] == [
                tuple(dict.fromkeys(pair)) for pair in names
            ]

    async def test_calls_without_bound_are_refused_at_once(self) -> None:
        async with self.cloud() as nodes:
            pong = Pong()
            ping = await self.ping(nodes, pong)
            calls = [asyncio.ensure_future(ping.wait()) for _ in range(5000)]
            await until(lambda: any(call.done() for call in calls))
            with pytest.raises(Unavailable, match="too many calls"):
                await next(call for call in calls if call.done())
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: pong.waiting == 0)
            await ping.nothing()

    async def test_events_arrive_in_the_order_of_their_topic(self) -> None:
        async with self.cloud() as nodes:
            speaker, listener = await nodes.join("speaker"), await nodes.join("listener")
            heard: list[Said] = []
            listener.subscribe(Said, heard.append)
            await nodes.hears(listener, speaker)
            heard.clear()
            for number in range(2000):
                speaker.publish(Said(who=("a", "b")[number % 2], number=number))
                speaker.publish(Noise(number=number))
            await until(lambda: len(heard) == 2000)
            assert [e.number for e in heard if e.who == "a"] == list(range(0, 2000, 2))
            assert [e.number for e in heard if e.who == "b"] == list(range(1, 2000, 2))

    async def test_a_subscriber_to_a_topic_hears_no_other(self) -> None:
        async with self.cloud() as nodes:
            speaker, listener = await nodes.join("speaker"), await nodes.join("listener")
            heard: list[Said] = []
            listener.subscribe(Said, heard.append, "vm")
            await nodes.hears(listener, speaker)
            heard.clear()
            for who in ("vm_nic", "volume", "", "vm"):
                speaker.publish(Said(who=who, number=1))
            await until(lambda: heard)
            assert heard == [Said(who="vm", number=1)]

    async def test_a_publisher_hears_itself(self) -> None:
        async with self.cloud() as nodes:
            bus = await nodes.join("both")
            heard: list[Said] = []
            bus.subscribe(Said, heard.append)
            bus.publish(Said(who="me", number=1))
            await until(lambda: heard)
            assert heard == [Said(who="me", number=1)]

    async def test_an_awaitable_handler_runs(self) -> None:
        async with self.cloud() as nodes:
            bus = await nodes.join("both")
            heard: list[int] = []

            async def hear(event: Said) -> None:
                await asyncio.sleep(0)
                heard.append(event.number)

            bus.subscribe(Said, hear)
            bus.publish(Said(who="me", number=3))
            await until(lambda: heard == [3])

    async def ping(self, nodes: Nodes, pong: Pong | None = None) -> Ping:
        """Return Ping, as one node asks it of another."""
        server, caller = await nodes.join("server"), await nodes.join("caller")
        server.serve(pong or Pong("server"))
        nodes.tell("server")
        return caller.ask(Ping)
