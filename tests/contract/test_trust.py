"""Who gets a word in on the bus: real sockets, real keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest
from msgspec.structs import replace

from csnode.bus import gate
from csnode.bus.envelope import Failure
from csnode.bus.gate import Gate
from csnode.bus.service import Service, callers
from csnode.bus.transport import Sockets
from csnode.bus.zeromq import ZmqBus
from csnode.clock import wall
from csnode.context import Principal, acting, proved
from csnode.faults import Denied, Unavailable
from csnode.testing.bus import Ping, Pong, until
from csnode.testing.trusted import Founded
from csnode.trust.files import Keys, un_z85
from csnode.types import NodeId
from tests.contract.zmq_nodes import Line as Knocker
from tests.contract.zmq_nodes import ZmqNodes, gate_of, request, zmq_nodes

HOSTING = ("compute", "network", "storage")


class Guarded(Service, Protocol):
    """Not for everybody."""

    async def who(self) -> tuple[str, tuple[str, ...]]: ...

    @callers("orchestrator")
    async def order(self) -> str: ...

    @callers("newcomer")
    async def knock(self) -> str: ...


class Guard(Guarded):
    """Answers whom it proved to be asked by."""

    async def who(self) -> tuple[str, tuple[str, ...]]:
        who = proved()
        return (who.name, tuple(sorted(who.roles))) if who else ("", ())

    async def order(self) -> str:
        return "done"

    async def knock(self) -> str:
        who = proved()
        return who.name if who else ""


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return Founded(tmp_path)


@pytest.fixture
async def nodes(founded: Founded) -> AsyncGenerator[ZmqNodes]:
    async with zmq_nodes(founded) as nodes:
        yield nodes


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WAIT_S", 0.3)


async def serving(nodes: ZmqNodes, served: object, name: str = "server") -> ZmqBus:
    bus = await nodes.join(name)
    bus.serve(served)
    nodes.tell(name)
    return bus


@asynccontextmanager
async def knocking(sockets: Sockets, endpoint: str, key: str) -> AsyncGenerator[Knocker]:
    """Somebody who connects by hand."""
    knocker = Knocker.__new__(Knocker)
    knocker.answers, knocker.up = [], False
    knocker.transport = sockets.asking(endpoint, knocker._got, knocker._changed, key)
    try:
        yield knocker
    finally:
        knocker.transport.abort()
        await sockets.close()


# -- who is let in ----------------------------------------------------------------------------


async def test_a_call_proves_whose_it_is(nodes: ZmqNodes, founded: Founded) -> None:
    await serving(nodes, Guard())
    founded.machine("hv-1", HOSTING)
    caller = await nodes.join("hv-1")
    assert await caller.ask(Guarded).who() == ("hv-1", HOSTING)
    assert await nodes.buses["server"].ask(Guarded).who() == ("", ())  # it is itself


async def test_a_stranger_without_a_key_gets_no_connection(nodes: ZmqNodes) -> None:
    server = await serving(nodes, Pong("server"))
    ping = (await nodes.join("caller")).ask(Ping)
    async with knocking(Sockets(), server.endpoints[0], "") as stranger:
        for _ in range(50):
            await ping.nothing()
        assert not stranger.up
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(server.endpoints[0].rpartition(":")[2])
    )
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    said = b""
    with suppress(ConnectionResetError):
        while more := await reader.read(1000):
            said += more
    assert len(said) <= 64  # libzmq's greeting, and then nothing
    writer.close()
    assert await ping.who() == "server"


@pytest.mark.parametrize("which", ["of another cluster", "of nobody"])
async def test_a_key_that_is_not_known_is_not_let_in(
    nodes: ZmqNodes, tmp_path: Path, which: str
) -> None:
    server = await serving(nodes, Pong("server"))
    if which == "of nobody":
        sockets = Sockets(keys=Keys.new())
    else:
        sockets = Sockets(Founded(tmp_path / "other").machine("caller"))
    async with knocking(sockets, server.endpoints[0], server.key) as stranger:
        await until(lambda: gate_of(server).refusals.count > 0)
        assert not stranger.up
        stranger.ask(request(1, "Ping.who", remaining_ms=5000))
        assert await (await nodes.join("caller")).ask(Ping).who() == "server"
        assert not stranger.answers


async def test_whoever_answers_with_another_key_is_not_asked(nodes: ZmqNodes) -> None:
    """A member that took the address of another: it has a key, but not that one."""
    await serving(nodes, Pong("server"))
    caller, liar = await nodes.join("caller"), await nodes.join("liar")
    assert await caller.ask(Ping).who() == "server"
    true = nodes.meeting.members[NodeId("server")]
    await nodes.leave("server")
    liar.serve(Pong("liar"))
    there = replace(true, calls=liar.endpoints[0], events=liar.endpoints[1])
    nodes.directories["liar"].announce(there)
    with pytest.raises(Unavailable, match="no Ping can be reached"):
        await caller.ask(Ping).who()
    nodes.directories["liar"].announce(replace(there, key=liar.key))
    with pytest.raises(Unavailable, match="nobody serves Ping"):  # nor as the server's machine
        await caller.ask(Ping).who()
    nodes.tell("liar")
    assert await caller.ask(Ping).who() == "liar"


async def test_a_credential_that_comes_a_moment_late_is_waited_for(
    nodes: ZmqNodes, founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "WAIT_S", 30.0)
    server = await serving(nodes, Pong("server"))
    late = founded.machine("late")
    async with knocking(Sockets(late), server.endpoints[0], server.key) as knocker:
        await until(lambda: gate_of(server)._left < gate.WAITING_MAX)
        assert not knocker.up
        founded.introduce()
        await until(lambda: knocker.up)
    assert gate_of(server).refusals.count == 0


async def test_libzmqs_client_tries_again_after_it_was_not_let_in(
    nodes: ZmqNodes, founded: Founded
) -> None:
    server = await serving(nodes, Pong("server"))
    late = founded.machine("late")
    async with knocking(Sockets(late), server.endpoints[0], server.key) as knocker:
        await until(lambda: gate_of(server).refusals.count > 0)
        founded.introduce()
        async with asyncio.timeout(20):
            while not knocker.up:
                await asyncio.sleep(0.05)


def asked(gate: Gate, door: str, key: bytes, mechanism: bytes = b"CURVE") -> bytes:
    """What the gate answers about that key."""
    said: list[bytes] = []
    gate.open(lambda parts: said.append(parts[4]))
    gate.ask([b"r", b"", b"1.0", b"1", door.encode(), b"127.0.0.1", b"", mechanism, key])
    return said[0] if said else b""


async def test_the_gate_has_a_door_for_all_members_and_one_for_those_who_control() -> None:
    known = {
        "c" * 40: Principal(name="ctl", roles=frozenset({"api"})),
        "h" * 40: Principal(name="hv", roles=frozenset(HOSTING)),
        "n" * 40: Principal(name="new", roles=frozenset({"newcomer"})),
    }
    ours = Gate(known.get)
    answers = {
        (key[0], door): asked(ours, door, un_z85(key))
        for key in known
        for door in ("calls", "events")
    }
    assert [who for who, status in answers.items() if status == b"200"] == [
        ("c", "calls"), ("c", "events"), ("h", "calls"), ("n", "calls")
    ]  # fmt: skip
    assert asked(ours, "calls", b"", b"NULL") == b"300"
    assert asked(ours, "calls", b"user", b"PLAIN") == b"300"


# -- what they may ---------------------------------------------------------------------------


async def test_a_method_is_for_those_it_names(nodes: ZmqNodes, founded: Founded) -> None:
    server = await serving(nodes, Guard())
    founded.machine("hv-1", HOSTING)
    host, orchestrator = await nodes.join("hv-1"), await nodes.join("orc")
    assert await orchestrator.ask(Guarded).order() == "done"
    for denied in (host.ask(Guarded).order, orchestrator.ask(Guarded).knock):
        with pytest.raises(Denied, match="may not call Guarded"):
            await denied()
    assert server._desk.refusals.count == 2


@pytest.mark.parametrize(
    "caller", ["api@ctl", "api@hv-1", "compute@ctl", "compute@hv-10", "ctl", "api", "x@ctl/y"]
)
async def test_a_call_in_anothers_name_is_refused(
    nodes: ZmqNodes, founded: Founded, caller: str
) -> None:
    await serving(nodes, Guard())
    founded.machine("hv-1", HOSTING)
    host = await nodes.join("hv-1")
    with acting(caller=caller), pytest.raises(Denied, match="may not call as"):
        await host.ask(Guarded).who()
    for own in ("compute@hv-1", "compute@hv-1/compute#7", "hv-1/all", "compute", ""):
        with acting(caller=own):
            assert (await host.ask(Guarded).who())[0] == "hv-1"


async def test_a_newcomer_may_knock_and_nothing_else(nodes: ZmqNodes, founded: Founded) -> None:
    server, keys = await serving(nodes, Guard()), Keys.new()
    trust = founded.machines["server"]
    trust.roll.expect(keys.public, "token", wall() + 60)
    async with knocking(Sockets(keys=keys), server.endpoints[0], server.key) as newcomer:
        await until(lambda: newcomer.up)
        for id, method in enumerate(("knock", "who", "order"), 1):
            newcomer.ask(request(id, f"Guarded.{method}", remaining_ms=5000))
        await until(lambda: len(newcomer.answers) == 3)
        kinds = {a.id: a.kind if isinstance(a, Failure) else "" for a in newcomer.answers}
        assert kinds == {1: "", 2: "Denied", 3: "Denied"}
        trust.roll.forget(keys.public)
        newcomer.ask(request(4, "Guarded.knock", remaining_ms=5000))
        await until(lambda: len(newcomer.answers) == 4)
        assert isinstance(newcomer.answers[-1], Failure)
        assert newcomer.answers[-1].kind == "Denied"


async def test_an_evicted_machine_is_refused_on_the_connection_that_stands(
    nodes: ZmqNodes, founded: Founded
) -> None:
    server, evicted = await serving(nodes, Pong("server")), await nodes.join("bad")
    assert await evicted.ask(Ping).who() == "server"
    founded.machines["server"].roll.put_out("bad", 1)
    with pytest.raises(Denied, match="do not belong"):
        await evicted.ask(Ping).who()
    assert server._desk.refusals.count == 1
    assert await (await nodes.join("good")).ask(Ping).who() == "server"


async def test_an_evicted_machine_is_asked_no_more(nodes: ZmqNodes, founded: Founded) -> None:
    await serving(nodes, Pong("bad"), "bad")
    caller = await nodes.join("caller")
    assert await caller.ask(Ping).who() == "bad"
    founded.machines["caller"].roll.put_out("bad", 1)
    with pytest.raises(Unavailable, match="nobody serves Ping"):
        await caller.ask(Ping).who()


async def test_a_renewed_credential_needs_no_new_connection(
    nodes: ZmqNodes, founded: Founded
) -> None:
    await serving(nodes, Guard())
    caller = await nodes.join("caller")
    before = await caller.ask(Guarded).who()
    peer, ups = caller._peers[NodeId("server")], list[bool]()
    peer._moved = lambda: ups.append(peer.up)
    own = founded.machines["caller"]
    own.renew(founded.credential("caller", own.keys, ("api",), serial=2))
    founded.introduce()
    nodes.tell("caller")
    assert before[1] != ("api",)
    assert await caller.ask(Guarded).who() == ("caller", ("api",))
    assert caller._peers[NodeId("server")] is peer
    assert not ups


async def test_a_machine_with_new_keys_is_connected_anew_at_the_same_address(
    nodes: ZmqNodes, founded: Founded
) -> None:
    server, caller = await serving(nodes, Pong("server")), await nodes.join("caller")
    assert await caller.ask(Ping).who() == "server"
    keys, here = Keys.new(), nodes.meeting.members[NodeId("server")]
    founded.machines["caller"].roll.meet(founded.credential("server", keys, serial=2))
    nodes.directories["server"].announce(replace(here, key=keys.public))
    with pytest.raises(Unavailable, match="no Ping can be reached"):  # it has the old keys still
        await caller.ask(Ping).who()
    nodes.directories["server"].announce(replace(here, key=server.key))
    assert await caller.ask(Ping).who() == "server"
