"""The directory's suite on ZooKeeper and on Redis: real servers, killed, frozen and emptied."""

from __future__ import annotations

import asyncio
import itertools
import socket
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import pytest

from csnode.config import RedisConfig, ZooKeeperConfig
from csnode.directory.beacon import Beacon, Says, Seal
from csnode.directory.directory import Directory, Member
from csnode.directory.redis import RedisDirectory
from csnode.directory.stored import StoredDirectory
from csnode.directory.zookeeper import ZooKeeperDirectory
from csnode.faults import Invalid
from csnode.servers import redis, zookeeper
from csnode.testing.directory import StoredSuite, member, names, until
from csnode.testing.trusted import Founded
from csnode.trust.trust import Trust
from tests import servers

numbers = itertools.count(1)


S = TypeVar("S", bound=servers.Server)


class Stored(StoredSuite, Generic[S]):
    """What both have in common here."""

    where: S
    own: str

    @pytest.fixture(autouse=True)
    async def apart(self) -> AsyncGenerator[None, None]:
        """A corner of the server that no other test has, and a server that runs again."""
        self.own = f"test{next(numbers)}"
        yield
        if self.where.process is None:
            self.where.start()
        self.where.thaw()

    @abstractmethod
    def release(self, directory: Any) -> None:
        """Cut its connections."""

    def drop(self, directory: Directory) -> None:
        assert isinstance(directory, StoredDirectory)
        for task in directory._tasks:
            task.cancel()
        self.release(directory)

    async def kill(self) -> None:
        await asyncio.to_thread(self.where.kill)

    async def start(self, *, forgetful: bool = False) -> None:
        if forgetful:
            self.where.forget()
        self.where.thaw()
        if self.where.process is None:
            await asyncio.to_thread(self.where.start)

    async def freeze(self) -> None:
        self.where.freeze()

    def troubled(self, directory: Directory, seconds: float) -> bool:
        assert isinstance(directory, StoredDirectory)
        since = directory._away_since
        said = bool(directory.troubles())
        return said and since is not None and asyncio.get_running_loop().time() - since >= seconds

    def refused(self, directory: Directory) -> int:
        assert isinstance(directory, StoredDirectory)
        return directory._strangers

    def knows(self, directory: Directory, sealed: bytes) -> bool:
        assert isinstance(directory, StoredDirectory)
        beacon = directory._seal.opened(sealed)
        assert beacon is not None
        assert beacon.member is not None
        last = directory._roster._stamps.get(beacon.member.node, (-1, -1))
        return last >= (beacon.member.incarnation, beacon.beat)

    def forged(self) -> list[bytes]:
        stranger = member("x", cluster="two")
        of_another = Seal("two").packed(Beacon(says=Says.HERE, beat=9, member=stranger))
        no_member = Seal("one").packed(Beacon(says=Says.WHO, beat=9))
        return [of_another, no_member]


class TestZooKeeper(Stored[servers.ZooKeeperServer]):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Generator[None, None, None]:
        with servers.zookeeper() as cls.where:
            yield

    @pytest.fixture(autouse=True)
    async def line(self, apart: None) -> AsyncGenerator[None, None]:
        async with zookeeper.connected(self.config(), "one") as self.client:
            yield

    def config(self) -> ZooKeeperConfig:
        hosts = (self.where.address,)
        return ZooKeeperConfig(hosts=hosts, root=f"/{self.own}", session_seconds=2.0)

    def make(self, cluster: str = "one") -> Directory:
        return ZooKeeperDirectory(self.config(), Seal(cluster))

    def release(self, directory: ZooKeeperDirectory) -> None:
        client = directory._server._client
        client._stopped.set()  # or it would connect again
        with suppress(OSError, AttributeError):
            client._connection._socket.shutdown(socket.SHUT_RDWR)

    async def test_a_watch_that_calls_before_its_answer_is_read_is_not_lost(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for pause in ("LIST_S", "WRITE_S"):  # nothing but watches
            monkeypatch.setattr(f"csnode.directory.zookeeper.{pause}", 3600.0)
        async with self.make() as first, self.make() as second:
            assert isinstance(first, ZooKeeperDirectory)
            second.announce(member("b"))
            await until(lambda: names(first) == ["b"])
            children = first._server.children

            async def slowly(path: str, watch: Callable[[], None] | None = None) -> list[str]:
                listed = await children(path, watch)
                if watch is not None and "late~1" not in listed:
                    first._news.clear()
                    await self.plant("late~1", b"nonsense")
                    await until(first._news.is_set)
                return listed

            monkeypatch.setattr(first._server, "children", slowly)
            async with self.make() as third, self.make() as fourth:
                third.announce(member("c"))
                await until(lambda: names(first) == ["b", "c"] and self.refused(first) == 1)
                fourth.announce(member("d"))
                await until(lambda: names(first) == ["b", "c", "d"])

    async def test_a_dead_node_is_gone_though_its_entry_was_spoilt(self) -> None:
        async with self.make() as first:
            await self.dropped("b", seen_by=first)
            await self.client.set("nodes/b~1", b"nonsense")
            await until(lambda: self.refused(first) == 1)
            assert names(first) == ["b"]
            await until(lambda: names(first) == [])

    async def entries(self) -> dict[str, bytes]:
        listed = await self.client.children("nodes")
        found = [(name, await self.client.get(f"nodes/{name}")) for name in listed]
        return {name: entry.value for name, entry in found if entry is not None}

    async def plant(self, name: str, sealed: bytes) -> None:
        await self.client.create(f"nodes/{name}", sealed, ephemeral=True)


class TestRedis(Stored[servers.RedisServer]):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Generator[None, None, None]:
        with servers.redis() as cls.where:
            yield

    @pytest.fixture(autouse=True)
    async def line(self, apart: None) -> AsyncGenerator[None, None]:
        async with redis.connected(self.config(), "one") as self.client:
            yield

    def config(self) -> RedisConfig:
        return RedisConfig(url=self.where.url, prefix=self.own)

    def make(self, cluster: str = "one") -> Directory:
        return RedisDirectory(self.config(), Seal(cluster))

    def release(self, directory: RedisDirectory) -> None:
        pool = cast("Any", directory._server)._client.connection_pool
        self.cutting = asyncio.ensure_future(pool.disconnect())

    async def entries(self) -> dict[str, bytes]:
        found = await self.client.run("return redis.call('SMEMBERS', KEYS[1])", ["nodes"])
        values = [
            (name.decode(), await self.client.get(f"nodes/{name.decode()}")) for name in found
        ]
        return {name: value for name, value in values if value is not None}

    async def plant(self, name: str, sealed: bytes) -> None:
        await self.client.set(f"nodes/{name}", sealed)
        await self.client.run("redis.call('SADD', KEYS[1], ARGV[1])", ["nodes"], [name])


@pytest.mark.parametrize("kind", ["zookeeper", "redis"])
async def test_a_machine_speaks_for_itself_only(kind: str, tmp_path: Path) -> None:
    cluster = Founded(tmp_path, "one")
    good, bad, reader = (cluster.machine(name, roles=("api",)) for name in ("good", "bad", "r"))
    stranger = Founded(tmp_path / "strangers", "one").machine("good", roles=("api",))
    with getattr(servers, kind)() as server:

        def made(trust: Trust) -> StoredDirectory:
            seal = Seal("one", trust)
            if kind == "redis":
                return RedisDirectory(RedisConfig(url=server.url), seal)
            return ZooKeeperDirectory(ZooKeeperConfig(hosts=(server.address,)), seal)

        def node(name: str, trust: Trust) -> Member:
            key = trust.credential.key
            return member(f"{name}/api", host=name, serves=(), key=key)

        async with made(reader) as first, made(good) as a, made(bad) as b, made(stranger) as c:
            b.announce(node("good", bad))
            c.announce(node("good", stranger))
            await until(lambda: first._strangers >= 2)
            a.announce(node("good", good))
            await until(lambda: list(first.members()) == [node("good", good)])


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (ZooKeeperConfig(), "hosts: empty"),
        (ZooKeeperConfig(hosts=("127.0.0.1:1",), root="csnode"), "does not begin with /"),
        (ZooKeeperConfig(hosts=("127.0.0.1:1",), session_seconds=0.1), "between 1 and 40"),
        (ZooKeeperConfig(hosts=("198.51.100.1:2181",)), "needs a credential"),
    ],
)
async def test_a_bad_zookeeper_is_refused(config: ZooKeeperConfig, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        async with ZooKeeperDirectory(config, Seal("one")):
            pass


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "url: empty"),
        ("127.0.0.1:6379", r"\[redis\] url: "),
        ("redis://198.51.100.1:6379/0", "needs a credential"),
    ],
)
async def test_a_bad_redis_is_refused(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        async with RedisDirectory(RedisConfig(url=url), Seal("one")):
            pass
