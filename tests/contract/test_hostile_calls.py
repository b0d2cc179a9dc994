"""Whoever took over a machine asks what no honest one does, of those that admit and of any node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from csnode.bus import desk, zeromq
from csnode.bus.envelope import Answer, Failure
from csnode.bus.service import Service
from csnode.context import Principal
from csnode.contracts.membership import Renewal
from csnode.faults import Conflict, Invalid, Unavailable
from csnode.model.membership import Seat
from csnode.testing.bus import until
from csnode.trust.files import Keys
from tests.contract.test_membership import HOSTING, Cluster, cluster
from tests.contract.zmq_nodes import ZmqNodes, request, stranger, zmq_nodes

__all__ = ["cluster"]
HUGE = bytes(18 * 1024 * 1024)
EVIL = Principal(name="hv-1", roles=frozenset(HOSTING))


@pytest.fixture
async def taken(cluster: Cluster) -> Cluster:
    """hv-2 has just changed its key, and its processes still have the one before."""
    token, keys = await cluster.token(uses=3), Keys.new()
    await cluster.join(token, "hv-1")
    await cluster.join(token, "hv-2", keys)
    new = Keys.new()
    renewal = Renewal(name="hv-2", key=new.public, verify=new.verify)
    await cluster.by(
        Principal(name="hv-2", roles=frozenset(HOSTING)), lambda: cluster.registry.renew(renewal)
    )
    return cluster


async def test_nobody_gets_a_credential_for_anothers_key(taken: Cluster) -> None:
    """Connections by that key would be taken for its own, and refused what the other may do."""
    victim = await taken.store.get(Seat, "hv-2")
    before = await taken.store.find(Seat)
    for key in (victim.key, victim.before, taken.trust.keys.public):
        renewal = Renewal(name="hv-1", key=key, verify=Keys.new().verify)
        with pytest.raises(Conflict):
            await taken.by(EVIL, lambda renewal=renewal: taken.registry.renew(renewal))
    assert await taken.store.find(Seat) == before


async def test_a_newcomer_cannot_bring_anothers_key(taken: Cluster) -> None:
    victim = await taken.store.get(Seat, "hv-2")
    token = await taken.token()
    for key in (victim.key, victim.before):
        keys = Keys.new()
        keys.public = key
        with pytest.raises(Conflict):
            await taken.join(token, "hv-9", keys)


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "x"},
        {"key": "\x1b[2J" * 10},
        {"key": "x" * 1_000_000},
        {"verify": b""},
        {"good_for": float("nan")},
        {"good_for": float("inf")},
        {"good_for": -1.0},
        {"trusts": (b"x" * 10_000_000,)},
        {"trusts": (b"x" * 32,) * 17},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_what_is_no_key_and_no_time_is_not_written_down(
    taken: Cluster, changed: dict[str, object]
) -> None:
    keys, before = Keys.new(), await taken.store.find(Seat)
    good = Renewal(name="hv-1", key=keys.public, verify=keys.verify)
    bad = msgspec.structs.replace(good, **changed)
    with pytest.raises(Invalid):
        await taken.by(EVIL, lambda: taken.registry.renew(bad))
    assert await taken.store.find(Seat) == before


async def test_a_newcomers_address_and_pool_are_what_they_are_called(taken: Cluster) -> None:
    token = await taken.token()
    with pytest.raises(Invalid, match="IP address"):
        await taken.join(token, "hv-9", address="\x1b[2J")
    with pytest.raises(Invalid, match="pool"):
        await taken.join(token, "hv-9", pool="a\nb")


@pytest.mark.parametrize("name", ["shared", "Shared", "orchestrator", "newcomer", "x" * 1_000_000])
async def test_no_machine_is_called_like_what_it_is_not(taken: Cluster, name: str) -> None:
    """A machine "shared" with a pool "nfs" would speak for the shared pool of that name."""
    token = await taken.token()
    with pytest.raises(Invalid):
        await taken.join(token, name, pool="nfs")


class Waits(Service):
    async def wait(self) -> None: ...


class Waiter(Waits):
    def __init__(self) -> None:
        self.waiting = 0
        self.over = asyncio.Event()

    async def wait(self) -> None:
        self.waiting += 1
        await self.over.wait()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[ZmqNodes]:
    async with zmq_nodes() as made:
        yield made


async def test_a_number_that_is_under_way_is_not_used_again(nodes: ZmqNodes) -> None:
    bus, waiter = await nodes.join("server"), Waiter()
    bus.serve(waiter)
    async with stranger(bus.endpoints[0]) as line:
        line.ask(request(1, "Waits.wait", 60_000))
        line.ask(request(1, "Waits.wait", 60_000))
        await until(lambda: len(line.answers) == 1)
        assert isinstance(line.answers[0], Failure)
        waiter.over.set()
        await until(lambda: len(line.answers) == 2)
        assert isinstance(line.answers[1], Answer)
        assert waiter.waiting == 1
        line.ask(request(1, "Waits.wait", 60_000))  # it is free again
        await until(lambda: len(line.answers) == 3)
        assert isinstance(line.answers[2], Answer)


async def test_one_machine_cannot_have_any_number_of_calls_under_way(
    nodes: ZmqNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "RUNNING_MAX", 20)
    bus, waiter = await nodes.join("server"), Waiter()
    bus.serve(waiter)
    async with stranger(bus.endpoints[0]) as line:
        for number in range(100):
            line.ask(request(number, "Waits.wait", 60_000))
        await until(lambda: len(line.answers) == 80)
        assert all(isinstance(a, Failure) and a.kind == "Unavailable" for a in line.answers)
        assert waiter.waiting == 20
        waiter.over.set()
        await until(lambda: len(line.answers) == 100)
        line.ask(request(1000, "Waits.wait", 60_000))
        await until(lambda: isinstance(line.answers[-1], Answer) and line.answers[-1].id == 1000)


async def test_a_connection_that_a_frame_too_large_has_ended_is_made_anew(
    nodes: ZmqNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libzmq itself never does, whatever the other node answers after that."""
    monkeypatch.setattr(zeromq, "ANEW_S", 0.2)
    caller, server = await nodes.join("caller"), await nodes.join("server")
    waiter = Waiter()
    waiter.over.set()
    server.serve(waiter)
    nodes.tell("server")
    await caller.ask(Waits).wait()
    assert waiter.waiting == 1

    def flood(to: bytes, *_: object) -> None:
        server._desk._send(to, HUGE)

    monkeypatch.setattr(server._desk, "_reply", flood)
    with pytest.raises(Unavailable):
        await caller.ask(Waits).wait()
    monkeypatch.undo()
    monkeypatch.setattr(zeromq, "ANEW_S", 0.2)
    async with asyncio.timeout(20):
        while True:
            try:
                await caller.ask(Waits).wait()
            except Unavailable:
                continue
            break
    assert waiter.waiting == 3
