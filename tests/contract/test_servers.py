"""The doors to ZooKeeper and Redis, where they promise more than the libraries behind them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import pytest

from csnode.clock import now
from csnode.config import RedisConfig, ZooKeeperConfig
from csnode.faults import Conflict, NotFound, Refused, Unavailable
from csnode.servers import redis, zookeeper
from csnode.servers.zookeeper import Line
from csnode.testing.bus import until
from tests import servers


@pytest.fixture(scope="module")
def red() -> Generator[servers.RedisServer, None, None]:
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="module")
def zoo() -> Generator[servers.ZooKeeperServer, None, None]:
    with servers.zookeeper() as server:
        yield server


async def test_a_task_that_is_cancelled_in_a_command_ends(red: servers.RedisServer) -> None:
    """redis-py loses a cancel that arrives while it connects, or closes."""

    async def ask_for_ever() -> None:
        async with redis.connected(RedisConfig(url=red.url), "one") as client:
            while True:
                try:
                    async with client.listening("news"):
                        await client.get("a")
                except Unavailable:
                    continue

    for turns in range(120):
        asking = asyncio.ensure_future(ask_for_ever())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=5)
        assert asking.done(), f"cancelled after {turns} turns of the loop, and still at it"


async def test_a_listener_of_a_dead_redis_is_told_so(red: servers.RedisServer) -> None:
    async with (
        redis.connected(RedisConfig(url=red.url), "one") as client,
        client.listening("news") as news,
    ):
        await client.publish("news", b"good")
        assert await anext(news) == b"good"
        await asyncio.to_thread(red.restart)
        with pytest.raises(Unavailable):
            await anext(news)


async def test_a_stream_refuses_a_number_again(red: servers.RedisServer) -> None:
    async with redis.connected(RedisConfig(url=red.url), "one") as client:
        assert await client.last("feed") is None
        await client.append("feed", "7-0", {"row": b"x"})
        with pytest.raises(Refused):
            await client.append("feed", "7-0", {"row": b"y"})
        (entry,) = await client.read("feed", "0-0")
        assert (entry.id, entry.fields, await client.last("feed")) == ("7-0", {"row": b"x"}, "7-0")


async def test_a_session_outlives_its_connections(zoo: servers.ZooKeeperServer) -> None:
    async with zookeeper.connected(_config(zoo), "one") as client:
        made = await client.create("lives", b"1", ephemeral=True)
        lines: list[Line] = []
        client.listen(lines.append)
        await asyncio.to_thread(zoo.restart)
        await until(lambda: lines == [Line.DOWN, Line.UP])
        assert await client.get("lives") == made
        assert made.session == client.session != 0


async def test_a_server_that_lost_everything_is_met_anew(zoo: servers.ZooKeeperServer) -> None:
    async with zookeeper.connected(_config(zoo), "one") as client:
        for number in range(5):  # so that the server seems to stand before what we saw
            await client.create(f"passing/{number}")
        await client.create("here", b"1", ephemeral=True)
        lines: list[Line] = []
        client.listen(lines.append)
        zoo.forget()
        await asyncio.to_thread(zoo.start)
        await until(lambda: lines[-1:] == [Line.UP])
        assert lines == [Line.DOWN, Line.LOST, Line.UP]
        assert not await client.exists("here")


async def test_a_watch_calls_once_and_when_the_line_is_cut(zoo: servers.ZooKeeperServer) -> None:
    async with zookeeper.connected(_config(zoo), "one") as client:
        called: list[int] = []
        await client.create("watched", b"1")
        await client.get("watched", lambda: called.append(1))
        await client.set("watched", b"2")
        await client.set("watched", b"3")
        await client.exists("not yet", lambda: called.append(2))
        await asyncio.to_thread(zoo.restart)
        await until(lambda: called == [1, 2])


async def test_a_session_that_is_begun_while_we_leave_ends_too(
    zoo: servers.ZooKeeperServer,
) -> None:
    """kazoo frees its sockets in `close`, which it refuses to a client that began anew."""
    beginning, closed, begun = threading.Event(), threading.Event(), threading.Event()
    async with zookeeper.connected(_config(zoo), "one") as client:
        await until(lambda: client.up)
        kazoo = client._client
        begin, close = kazoo.start_async, kazoo.close

        def late() -> None:
            beginning.set()
            closed.wait(1.0)  # whoever leaves is not to come between
            begin()
            begun.set()

        def tell() -> None:
            close()
            closed.set()

        kazoo.start_async, kazoo.close = late, tell
        client._renew()
        await until(beginning.is_set)
    await until(begun.is_set)
    assert kazoo._connection._read_sock is None


async def test_faults_of_zookeeper_are_ours(zoo: servers.ZooKeeperServer) -> None:
    async with zookeeper.connected(_config(zoo), "one") as client:
        await client.create("taken")
        with pytest.raises(Conflict):
            await client.create("taken")
        with pytest.raises(Conflict):
            await client.set("taken", b"", version=5)
        with pytest.raises(NotFound):
            await client.set("nothing", b"")
        await client.delete("nothing")
        assert await client.get("nothing") is None
        zoo.freeze()
        began = now()
        with pytest.raises(Unavailable):
            await client.get("taken")
        assert now() - began < 10
        zoo.thaw()


def _config(server: servers.ZooKeeperServer) -> ZooKeeperConfig:
    return ZooKeeperConfig(hosts=(server.address,), session_seconds=2.0)
