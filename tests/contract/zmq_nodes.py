"""Nodes with a ZeroMQ bus each, all in one process, and a stranger who says what he likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from csnode.bus.bus import Bus
from csnode.bus.envelope import Answer, Failure, Request, answered
from csnode.bus.gate import Gate
from csnode.bus.transport import DrainTransport, Sockets
from csnode.bus.zeromq import ZmqBus
from csnode.config import BusConfig
from csnode.context import Context
from csnode.directory.alone import AloneDirectory, Meeting
from csnode.directory.directory import Health, Member, Serving
from csnode.testing.bus import Said, until
from csnode.testing.trusted import Founded
from csnode.trust.trust import Trust
from csnode.types import NodeId


class ZmqNodes:
    """Each node has a bus of its own; their directories meet in this process.

    In a founded cluster each is a machine too, and they are introduced to each other.
    """

    def __init__(self, founded: Founded | None = None) -> None:
        self.meeting = Meeting()
        self.founded = founded
        self.buses: dict[str, ZmqBus] = {}
        self.directories: dict[str, AloneDirectory] = {}
        self._stacks: dict[str, AsyncExitStack] = {}
        self._starts = 0

    async def join(self, name: str, trust: Trust | None = None) -> ZmqBus:
        assert name not in self._stacks
        if self.founded is not None and trust is None:
            trust = self.founded.machines.get(name) or self.founded.machine(name)
            self.founded.introduce()
        stack = self._stacks[name] = AsyncExitStack()
        directory = await stack.enter_async_context(AloneDirectory(self.meeting))
        self.directories[name] = directory
        self.buses[name] = await stack.enter_async_context(
            ZmqBus(BusConfig(), directory, trust=trust)
        )
        self._starts += 1
        self.tell(name)
        return self.buses[name]

    def tell(self, name: str, health: Health = Health.OK) -> None:
        bus = self.buses[name]
        served = bus.serving().items()
        member = Member(
            node=NodeId(name),
            cluster="tests",
            incarnation=self._starts,
            number=1,
            host=name,
            roles=(),
            serves=tuple(Serving(contract=contract, at=at) for contract, at in served),
            calls=bus.endpoints[0],
            events=bus.endpoints[1],
            health=health,
            key=bus.key,
        )
        self.directories[name].announce(member)

    async def leave(self, name: str) -> None:
        await self._stacks.pop(name).aclose()

    async def hears(self, listener: Bus, speaker: Bus) -> None:
        heard: list[int] = []
        listener.subscribe(Said, lambda said: heard.append(said.number), "vm")
        for number in range(200):
            speaker.publish(Said(who="vm", number=number))
            try:
                async with asyncio.timeout(0.05):
                    await until(lambda: number in heard)  # noqa: B023
            except TimeoutError:
                continue
            return
        raise AssertionError("no event arrives")

    async def close(self) -> None:
        for stack in self._stacks.values():
            await stack.aclose()


@asynccontextmanager
async def zmq_nodes(founded: Founded | None = None) -> AsyncGenerator[ZmqNodes]:
    nodes = ZmqNodes(founded)
    try:
        yield nodes
    finally:
        await nodes.close()


def gate_of(bus: ZmqBus) -> Gate:
    """Where it is decided who may connect to it."""
    assert isinstance(bus._sockets, Sockets)
    return bus._sockets.gate


class Line:
    """A DEALER that says what it likes."""

    def __init__(self, sockets: Sockets, endpoint: str) -> None:
        self.answers: list[Answer | Failure] = []
        self.up = False
        self.transport: DrainTransport = sockets.asking(endpoint, self._got, self._changed)

    def _changed(self, up: bool) -> None:
        self.up = up

    def _got(self, parts: list[bytes]) -> None:
        self.answers.extend(answered(parts[-1]))

    def ask(self, asked: Request) -> None:
        self.transport.write((msgspec.msgpack.encode([asked]),))


@asynccontextmanager
async def stranger(endpoint: str) -> AsyncGenerator[Line]:
    sockets = Sockets()
    line = Line(sockets, endpoint)
    try:
        await until(lambda: line.up)
        yield line
    finally:
        line.transport.abort()
        await sockets.close()


def request(id: int, method: str, remaining_ms: int) -> Request:
    return Request(
        id=id,
        method=method,
        at=None,
        remaining_ms=remaining_ms,
        context=Context(),
        arguments=msgspec.Raw(b"\x90"),
    )
