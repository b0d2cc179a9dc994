"""The other process of the latency measurement: answers with what it is sent.

`python -m tests.bench.echo raw` is a ROUTER of plain pyzmq that blocks; `csnode` is a bus that
serves the contract Echo. Each prints its endpoint and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Protocol

import uvloop
import zmq

from csnode.bus.service import Service
from csnode.bus.zeromq import ZmqBus
from csnode.config import BusConfig
from csnode.directory.alone import AloneDirectory


class Echo(Service, Protocol):
    """Says what it is told."""

    async def say(self, text: bytes) -> bytes:
        """The same text."""
        ...


class Wall(Echo):
    """Serves Echo."""

    async def say(self, text: bytes) -> bytes:
        return text


def raw() -> None:
    """Blocking pyzmq, as plain as it gets."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)

    def answer() -> None:
        while True:
            router.send_multipart(router.recv_multipart())

    threading.Thread(target=answer, daemon=True).start()
    sys.stdin.read()
    sys.stdout.flush()
    # the thread blocks in the socket: leave without waiting for it
    raise SystemExit(0)


async def csnode() -> None:
    """The bus as a node has it."""
    async with AloneDirectory() as directory, ZmqBus(BusConfig(), directory) as bus:
        bus.serve(Wall())
        print(bus.endpoints[0], bus.endpoints[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1] == "raw":
        raw()
    else:
        uvloop.run(csnode())
