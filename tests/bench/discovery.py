"""How long 50 nodes need to find each other, and to miss one that was killed, by each directory.

A node is a process with nothing but its directory, signed as on a real network. All are started
and have imported what they need before the clock runs; then all join at once.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from csnode.testing.trusted import Founded
from csnode.types import Struct
from tests import servers
from tests.bench.figure import Figure, measured, median
from tests.bench.lonely import Setup
from tests.bench.process import cpu_s, pss_mb

NODES = 50
AT_ONCE = 4  # processes that import at the same time
PATIENCE_S = 120.0
IDLE_S = 5.0
Sections = dict[str, dict[str, object]]


class Seen(Struct):
    """One thing that a node said."""

    count: int
    suspect: int
    at: float


class Lonely:
    """A node's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[Seen] = []
        self.import_s = 0.0
        self.reading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        assert self.process.stdout is not None
        word, cpu = (await self.process.stdout.readline()).split()
        assert word == b"ready"
        self.import_s = float(cpu)
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            count, suspect, at = line.split()
            self.seen.append(Seen(count=int(count), suspect=int(suspect), at=float(at)))

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def last(self) -> int:
        return self.seen[-1].count if self.seen else 0

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        if self.reading is not None:
            await self.reading


async def measure() -> list[Figure]:
    port = servers.free_port()
    beacons: Sections = {"directory": {"port": port, "group": "239.192.77.11"}}
    seeds: Sections = {"directory": {"port": port + 1, "seeds": [f"127.0.0.1:{port + 1}"]}}
    figures = [*await _kind("multicast", beacons), *await _kind("static", seeds)]
    with servers.zookeeper() as zoo:
        figures += await _kind("zookeeper", {"zookeeper": {"hosts": [zoo.address]}}, zoo)
    with servers.redis() as red:
        figures += await _kind("redis", {"redis": {"url": red.url}}, red)
    return figures


async def _kind(
    kind: str, sections: Sections, server: servers.Server | None = None
) -> list[Figure]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="csnode-bench-"))
        cluster, gate = Founded(Path(folder), "bench"), asyncio.Semaphore(AT_ONCE)

        async def start(number: int) -> Lonely:
            name = f"h{number}"
            cluster.machine(name, roles=("api",))
            setup = Setup(kind=kind, name=name, trust=f"{folder}/{name}", sections=sections)
            async with gate:
                return await stack.enter_async_context(_process(setup))

        nodes = list(await asyncio.gather(*(start(number) for number in range(NODES))))
        return await _figures(kind, nodes, await start(NODES), server)


async def _figures(
    kind: str, nodes: list[Lonely], late: Lonely, server: servers.Server | None
) -> list[Figure]:
    began = time.monotonic()
    for node in nodes:
        node.go()
    await _until(lambda: all(node.last() == NODES for node in nodes))
    joined_s = max(node.seen[-1].at for node in nodes) - began
    idle = await _cores(nodes, server)
    memory = median([pss_mb(node.process.pid) for node in nodes])
    began = time.monotonic()
    late.go()
    await _until(lambda: all(node.last() == NODES + 1 for node in (*nodes, late)))
    newcomer_s = max(node.seen[-1].at for node in (*nodes, late)) - began
    told = [len(node.seen) for node in nodes]
    began = time.monotonic()
    late.process.kill()
    await _until(lambda: all(node.last() == NODES for node in nodes))
    known_s = max(node.seen[n].at for node, n in zip(nodes, told, strict=True)) - began
    gone_s = max(node.seen[-1].at for node in nodes) - began
    beside = (
        f"newcomer seen by all {newcomer_s:.2f} s; idle {idle}; {memory:.0f} MB each;"
        f" import {median([node.import_s for node in nodes]):.2f} CPU s"
    )
    return [
        measured(f"{kind}: {NODES} nodes join, all see all", joined_s, "s", 3.0, beside=beside),
        measured(
            f"{kind}: killed -9, gone everywhere",
            gone_s,
            "s",
            6.5,
            beside=f"suspect (or gone) everywhere {known_s:.2f} s",
        ),
    ]


async def _cores(nodes: list[Lonely], server: servers.Server | None) -> str:
    """What a node, and the server, take of a core while nothing happens."""
    pids = [node.process.pid for node in nodes]
    own = server.process.pid if server is not None and server.process is not None else None
    began, before = time.monotonic(), sum(map(cpu_s, pids))
    served = cpu_s(own) if own is not None else 0.0
    await asyncio.sleep(IDLE_S)
    spent_s = time.monotonic() - began
    each = (sum(map(cpu_s, pids)) - before) / spent_s / len(pids)
    said = f"{each:.1%} of a core a node"
    return said if own is None else f"{said}, server {(cpu_s(own) - served) / spent_s:.1%}"


@asynccontextmanager
async def _process(setup: Setup) -> AsyncGenerator[Lonely]:
    node = Lonely(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.lonely",
            msgspec.json.encode(setup).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    )
    try:
        await node.ready()
        yield node
    finally:
        await node.end()


async def _until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError("the nodes do not agree")
        await asyncio.sleep(0.02)
