"""One call at a time over ZeroMQ between two processes, against plain blocking pyzmq.

Rounds alternate, so that what else this machine does meets both alike.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import zmq

from csnode.bus.zeromq import ZmqBus
from csnode.config import BusConfig
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Member, Serving
from csnode.types import NodeId
from tests.bench.echo import Echo
from tests.bench.figure import Figure, measured, median

ROUNDS, CALLS = 9, 600
TEXT = b"x" * 182  # a small call's size


@contextmanager
def other(kind: str) -> Generator[list[str]]:
    """The other process, and what it printed: its endpoints."""
    command = [sys.executable, "-m", "tests.bench.echo", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().decode().split()
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


async def measure() -> list[Figure]:
    with other("raw") as raw_ends, other("csnode") as ends:
        directory = AloneDirectory()
        async with directory, ZmqBus(BusConfig(), directory) as bus:
            directory.announce(_member(ends))
            echo = bus.ask(Echo)
            context = zmq.Context()
            dealer = context.socket(zmq.DEALER)
            dealer.connect(raw_ends[0])
            theirs: list[float] = []
            ours: list[float] = []
            for _ in range(ROUNDS + 1):  # the first connects, and does not count
                theirs.append(median(_raw(dealer)))
                ours.append(median(await _ours(echo)))
            dealer.close(0)
            context.term()
    ratio = median([mine / raw for mine, raw in zip(ours[1:], theirs[1:], strict=True)])
    note = f"p50 {median(ours[1:]) * 1e6:.0f} us against {median(theirs[1:]) * 1e6:.0f} us"
    name = "ZeroMQ call, to plain blocking pyzmq"
    return [measured(name, ratio, "x", 2, beside=f"{note}, {len(TEXT)} bytes")]


def _member(ends: list[str]) -> Member:
    return Member(
        node=NodeId("echo"),
        cluster="bench",
        incarnation=1,
        number=1,
        host="echo",
        roles=(),
        serves=(Serving(contract="Echo", at=()),),
        calls=ends[0],
        events=ends[1],
    )


def _raw(dealer: zmq.Socket[bytes]) -> list[float]:
    times: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        dealer.send(TEXT)
        dealer.recv_multipart()
        times.append(time.perf_counter() - began)
    return times


async def _ours(echo: Echo) -> list[float]:
    times: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await echo.say(TEXT)
        times.append(time.perf_counter() - began)
    return times
