"""The bus's suite on the local and the ZeroMQ bus, and what only a network can do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from csnode.bus.bus import Bus
from csnode.bus.envelope import Cancel, Failure, fault_of
from csnode.bus.local import LocalBus
from csnode.bus.peer import IN_FLIGHT_MAX
from csnode.bus.zeromq import PATIENCE_S, ZmqBus
from csnode.config import BusConfig
from csnode.directory.alone import AloneDirectory, Meeting
from csnode.directory.directory import Health
from csnode.faults import Broken, Fault, Invalid, Unavailable
from csnode.testing.bus import BusSuite, Nodes, Ping, Pong, Said, until
from csnode.testing.trusted import Founded
from tests.contract.zmq_nodes import request, stranger, zmq_nodes


class LocalNodes:
    """Every node is the same bus."""

    def __init__(self) -> None:
        self.bus = LocalBus(AloneDirectory())

    async def join(self, name: str) -> Bus:
        return self.bus

    def tell(self, name: str) -> None:
        """It need not be told."""

    async def leave(self, name: str) -> None:
        raise NotImplementedError

    async def hears(self, listener: Bus, speaker: Bus) -> None:
        """At once."""


class TestLocal(BusSuite):
    @asynccontextmanager
    async def cloud(self) -> AsyncGenerator[Nodes]:
        yield LocalNodes()


class TestZmq(BusSuite):
    @asynccontextmanager
    async def cloud(self) -> AsyncGenerator[Nodes]:
        async with zmq_nodes() as nodes:
            yield nodes


class TestZmqWithKeys(BusSuite):
    @pytest.fixture(autouse=True)
    def founded(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @asynccontextmanager
    async def cloud(self) -> AsyncGenerator[Nodes]:
        async with zmq_nodes(Founded(self.folder)) as nodes:
            yield nodes


class OnUvloop:
    """Runs every test of a suite on uvloop."""

    def __init_subclass__(cls) -> None:
        for name in dir(cls):
            if name.startswith("test_"):
                setattr(cls, name, on_uvloop(getattr(cls, name)))


def on_uvloop(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    @wraps(test)
    def run(self: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(self))

    return run


class TestLocalOnUvloop(OnUvloop, TestLocal):
    pass


class TestZmqOnUvloop(OnUvloop, TestZmq):
    async def test_it_is_uvloop_indeed(self) -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


class TestNetwork:
    """What only happens between processes."""

    async def test_calls_to_any_are_spread(self) -> None:
        async with zmq_nodes() as nodes:
            caller = await nodes.join("caller")
            for name in ("one", "two"):
                (await nodes.join(name)).serve(Pong(name))
                nodes.tell(name)
            answers = [await caller.ask(Ping).who() for _ in range(60)]
            assert set(answers) == {"one", "two"}

    async def test_a_busy_server_is_spared(self) -> None:
        async with zmq_nodes() as nodes:
            caller = await nodes.join("caller")
            pongs = {name: Pong(name) for name in ("one", "two")}
            for name, pong in pongs.items():
                (await nodes.join(name)).serve(pong, at=(name,))
                nodes.tell(name)
            await caller.ask(Ping, at="two").nothing()
            waiting = [asyncio.ensure_future(caller.ask(Ping, at="one").wait()) for _ in range(5)]
            await until(lambda: pongs["one"].waiting == 5)
            assert {await caller.ask(Ping).who() for _ in range(20)} == {"two"}
            for call in waiting:
                call.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def test_a_suspect_is_asked_only_if_nobody_else_answers(self) -> None:
        async with zmq_nodes() as nodes:
            caller = await nodes.join("caller")
            for name in ("one", "two"):
                (await nodes.join(name)).serve(Pong(name))
            nodes.tell("one", Health.SUSPECT)
            nodes.tell("two")
            assert {await caller.ask(Ping).who() for _ in range(20)} == {"two"}
            await nodes.leave("two")
            assert await caller.ask(Ping).who() == "one"

    async def test_a_server_never_gets_more_than_its_callers_may_have_under_way(self) -> None:
        async with zmq_nodes() as nodes:
            pong = Pong()
            ping = await BusSuite.ping(TestZmq(), nodes, pong)
            await ping.nothing()
            calls = [asyncio.ensure_future(ping.wait()) for _ in range(3000)]
            await until(lambda: pong.waiting == IN_FLIGHT_MAX)
            assert sum(call.done() for call in calls) == 3000 - IN_FLIGHT_MAX
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: pong.waiting == 0)
            assert pong.begun == IN_FLIGHT_MAX

    async def test_a_call_waits_for_a_late_server(self) -> None:
        async with zmq_nodes() as nodes:
            caller = await nodes.join("caller")
            call = asyncio.ensure_future(caller.ask(Ping, at="h1").who())
            server = await nodes.join("late")
            assert not call.done()
            server.serve(Pong("late"), at=("h1",))
            nodes.tell("late")
            assert await call == "late"

    async def test_a_call_outlives_a_loop_that_stood_still(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with zmq_nodes() as nodes:
            ping = await BusSuite.ping(TestZmq(), nodes, Pong("server"))
            loop, real = asyncio.get_running_loop(), asyncio.get_running_loop().time
            call = asyncio.ensure_future(ping.who())
            await asyncio.sleep(0)  # it has begun to connect, and nobody has looked since
            monkeypatch.setattr(loop, "time", lambda: real() + 1.5 * PATIENCE_S)
            assert await call == "server"

    async def test_a_call_to_a_server_that_goes_fails_at_once(self) -> None:
        async with zmq_nodes() as nodes:
            caller, pong = await nodes.join("caller"), Pong()
            (await nodes.join("server")).serve(pong)
            nodes.tell("server")
            call = asyncio.ensure_future(caller.ask(Ping).wait())
            await until(lambda: pong.waiting == 1)
            await nodes.buses["server"].__aexit__(None, None, None)  # the directory knows nothing
            with pytest.raises(Unavailable, match="the connection to server was lost"):
                await asyncio.wait_for(call, 10)

    async def test_a_call_to_a_node_the_directory_lost_fails_at_once(self) -> None:
        async with zmq_nodes() as nodes:
            caller, pong = await nodes.join("caller"), Pong()
            (await nodes.join("server")).serve(pong)
            nodes.tell("server")
            call = asyncio.ensure_future(caller.ask(Ping).wait())
            await until(lambda: pong.waiting == 1)
            await nodes.directories["server"].__aexit__(None, None, None)
            with pytest.raises(Unavailable, match="server is gone"):
                await asyncio.wait_for(call, 10)

    async def test_a_server_that_starts_again_is_found_again(self) -> None:
        async with zmq_nodes() as nodes:
            caller = await nodes.join("caller")
            heard: list[Said] = []
            caller.subscribe(Said, heard.append)
            for start in range(3):
                server = await nodes.join("server")
                server.serve(Pong(f"start {start}"))
                nodes.tell("server")
                assert await caller.ask(Ping).who() == f"start {start}"
                await nodes.hears(caller, server)
                await nodes.leave("server")

    async def test_a_dead_endpoint_is_no_reason_to_fail_while_another_serves(self) -> None:
        async with zmq_nodes() as nodes:
            caller = await nodes.join("caller")
            for name in ("dead", "alive"):
                (await nodes.join(name)).serve(Pong(name))
                nodes.tell(name)
            await nodes.buses["dead"].__aexit__(None, None, None)
            nodes.buses["dead"].local.serve(Pong("dead"))
            nodes.tell("dead")
            assert {await caller.ask(Ping).who() for _ in range(20)} == {"alive"}

    async def test_a_wrong_argument_is_invalid_and_named(self) -> None:
        async with zmq_nodes() as nodes:
            ping = await BusSuite.ping(TestZmq(), nodes)
            with pytest.raises(Invalid, match=r"Ping\.fail: Expected `str`, got `int`"):
                await ping.fail(3)  # type: ignore[reportArgumentType]
            with pytest.raises(Invalid, match=r"Ping\.fail cannot be asked that"):
                await ping.fail(object())  # type: ignore[reportArgumentType]
            assert await ping.who() == "server"

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            (3, r"the answer of Ping\.who cannot be read"),
            (object(), r"Ping\.who answered what cannot be sent"),
        ],
    )
    async def test_a_wrong_answer_is_broken(self, name: Any, why: str) -> None:
        async with zmq_nodes() as nodes:
            ping = await BusSuite.ping(TestZmq(), nodes, Pong(name))
            with pytest.raises(Broken, match=why):
                await ping.who()

    async def test_what_is_too_large_is_invalid_and_cuts_no_connection(self) -> None:
        async with zmq_nodes() as nodes:
            pong = Pong()
            ping = await BusSuite.ping(TestZmq(), nodes, pong)
            waiting = asyncio.ensure_future(ping.wait())
            await until(lambda: pong.waiting == 1)
            with pytest.raises(Invalid, match="larger than 16 MiB"):
                await ping.fail("x" * (16 * 1024 * 1024 + 1))
            half = "x" * (8 * 1024 * 1024)
            assert list(await ping.mapped((half,))) == [half]
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def test_a_fault_of_unknown_kind_is_a_plain_fault(self) -> None:
        fault = fault_of(Failure(id=1, kind="Weird", message="odd", detail="d", code=599, cs=4999))
        assert type(fault) is Fault
        assert (fault.message, fault.detail, fault.code, fault.cs) == ("odd", "d", 599, 4999)

    async def test_garbage_kills_nothing(self) -> None:
        async with zmq_nodes() as nodes:
            pong = Pong("server")
            ping = await BusSuite.ping(TestZmq(), nodes, pong)
            async with stranger(nodes.buses["server"].endpoints[0]) as line:
                for frame in (b"", b"\xc1", b"\x91\x01", b"\x91\x92\x09\x01", b"\xff" * 1000):
                    line.transport.write((frame,))
                line.transport.write((b"one", b"two", b"three"))
                line.ask(request(1, "Ping.who", remaining_ms=5000))
                line.ask(request(2, "No.such", remaining_ms=5000))
                await until(lambda: len(line.answers) == 2)
                assert {answer.id for answer in line.answers} == {1, 2}
            assert await ping.who() == "server"

    async def test_a_request_past_its_time_is_dropped(self) -> None:
        async with zmq_nodes() as nodes:
            pong = Pong()
            await BusSuite.ping(TestZmq(), nodes, pong)
            async with stranger(nodes.buses["server"].endpoints[0]) as line:
                line.ask(request(1, "Ping.wait", remaining_ms=0))
                line.ask(request(2, "Ping.who", remaining_ms=5000))
                await until(lambda: line.answers)
                assert [answer.id for answer in line.answers] == [2]
            assert pong.begun == 0

    async def test_a_call_cancelled_before_it_begins_leaves_nothing(self) -> None:
        async with zmq_nodes() as nodes:
            pong = Pong()
            await BusSuite.ping(TestZmq(), nodes, pong)
            server = nodes.buses["server"]
            async with stranger(server.endpoints[0]) as line:
                both = [request(1, "Ping.wait", remaining_ms=60_000), Cancel(id=1)]
                line.transport.write((msgspec.msgpack.encode(both),))
                line.ask(request(2, "Ping.who", remaining_ms=5000))
                await until(lambda: line.answers)
                await until(lambda: not server._desk._running)
            assert (pong.begun, server.in_flight) == (0, 0)

    async def test_a_nonsense_endpoint_is_only_unreachable(self) -> None:
        async with zmq_nodes() as nodes:
            bus = await nodes.join("server")
            bus.serve(Pong())
            bus.endpoints = ("nonsense", "tcp://127.0.0.1:x")
            caller = await nodes.join("caller")
            caller.subscribe(Said, lambda _: None)
            nodes.tell("server")
            with pytest.raises(Unavailable, match="no Ping can be reached"):
                await caller.ask(Ping).who()

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            (BusConfig(listen="0.0.0.0"), "no address that others can reach"),
            (BusConfig(listen="localhost"), "no IP address"),
            (BusConfig(listen="198.51.100.1"), "beyond this machine, which needs a credential"),
        ],
    )
    async def test_a_bad_address_is_refused(self, config: BusConfig, why: str) -> None:
        with pytest.raises(Invalid, match=why):
            async with ZmqBus(config, AloneDirectory()):
                pass

    async def test_an_address_that_is_not_ours_is_refused(self, tmp_path: Path) -> None:
        trust = Founded(tmp_path).machine("m")
        config = BusConfig(listen="198.51.100.1")
        with pytest.raises(Invalid, match=r"cannot listen on 198\.51\.100\.1"):
            async with ZmqBus(config, AloneDirectory(), trust=trust):
                pass

    async def test_a_port_in_use_is_refused(self) -> None:
        async with zmq_nodes() as nodes:
            port = int((await nodes.join("first")).endpoints[0].rpartition(":")[2])
            with pytest.raises(
                Invalid, match=f"cannot listen on 127.0.0.1:{port}: Address already"
            ):
                async with ZmqBus(BusConfig(calls_port=port), AloneDirectory()):
                    pass

    async def test_it_speaks_ipv6(self) -> None:
        meeting = Meeting()
        async with ZmqBus(BusConfig(listen="::1"), AloneDirectory(meeting)) as bus:
            assert bus.endpoints[0].startswith("tcp://[::1]:")
            bus.serve(Pong("six"))
            async with stranger(bus.endpoints[0]) as line:
                line.ask(request(1, "Ping.who", remaining_ms=5000))
                await until(lambda: line.answers)
