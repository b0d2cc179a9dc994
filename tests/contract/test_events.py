"""Events by ZeroMQ and by Redis pass one suite; and strangers to csnode can follow the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from csnode.config import Config
from csnode.data.rows import encoded
from csnode.model.identity import User
from csnode.model.place import Zone
from csnode.testing.data_cloud import created
from csnode.testing.events import EventSuite, Joined, Site, joined, reaches, same
from csnode.types import AccountId, DomainId
from csnode.uuids import new_id
from tests import servers
from tests.system.processes import Cloud

PATIENCE_S = 60.0


class DataProcess:
    """A csnode process that plays the data role."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.start("data")

    def restart(self) -> None:
        self.cloud.kill("data")
        self.cloud.start("data")


@contextmanager
def data_process(folder: Path, **sections: Mapping[str, Any]) -> Generator[Site]:
    with Cloud(folder, **sections) as cloud:
        yield Site(publisher=DataProcess(cloud), file=cloud.file)


@pytest.fixture(scope="module")
def zmq_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with data_process(tmp_path_factory.mktemp("zmq")) as site:
        yield site


@pytest.fixture
def server() -> Iterator[servers.RedisServer]:
    with servers.redis() as server:
        yield server


@pytest.fixture
def redis_site(server: servers.RedisServer, tmp_path: Path) -> Iterator[Site]:
    sections = {"bus": {"events": "redis"}, "redis": {"url": server.url}}
    with data_process(tmp_path, **sections) as site:
        yield site


class TestZeroMQ(EventSuite):
    @pytest.fixture
    def site(self, zmq_site: Site) -> Site:
        return zmq_site


class TestRedis(EventSuite):
    @pytest.fixture
    def site(self, redis_site: Site) -> Site:
        return redis_site

    async def test_the_stream_alone_brings_the_news(self, site: Site) -> None:
        """Whatever the view might ask for by itself is not asked: only the stream tells it."""
        async with joined(site.file) as here, joined(site.file) as there:
            view = await there.view()
            await reaches(view, await here.zones(new_id()[:8], 1))
            asked = 0

            async def nothing(*_: Any) -> Any:
                nonlocal asked
                asked += 1
                raise AssertionError

            there.store.data.feed = nothing  # type: ignore[method-assign]
            await reaches(view, await here.zones(new_id()[:8], 30))
            assert asked == 0
            view.close()

    @pytest.mark.parametrize("forgets", [False, True])
    async def test_a_redis_that_is_killed_loses_nothing(
        self, site: Site, server: servers.RedisServer, forgets: bool
    ) -> None:
        async with joined(site.file) as here, joined(site.file) as there:
            view = await there.view()
            for _ in range(2):
                work = asyncio.create_task(here.zones(new_id()[:8], 40))
                await reaches(view, await here.zones(new_id()[:8], 3))
                await asyncio.to_thread(server.forget if forgets else server.kill)
                await reaches(view, await work)  # without any event
                await reaches(view, await here.zones(new_id()[:8], 3))
                await asyncio.to_thread(server.start)
                await reaches(view, await here.zones(new_id()[:8], 3))
            await same(there, view)
            assert await whole(here, site, server) > 0
            view.close()

    async def test_a_stranger_gets_every_commit_with_its_number(
        self, site: Site, server: servers.RedisServer
    ) -> None:
        """Plain redis-py, which knows the name of the key and nothing else."""
        stream = stream_of(site)
        async with joined(site.file) as here:
            made: dict[str, int] = {}
            for n in range(50):
                zone = Zone(id=f"z{n}", name=f"z{n}")
                made[zone.id] = await here.commit(created(zone))
            seen: dict[str, int] = {}
            last = "0"
            with stranger_at(server, decode_responses=True) as stranger:
                async with asyncio.timeout(PATIENCE_S):
                    while len(seen) < len(made):
                        answer: Any = await asyncio.to_thread(
                            stranger.xread, {stream: last}, block=1000, count=7
                        )
                        for last, fields in answer[0][1] if answer else ():
                            if fields["kind"] == "zone":
                                seen[fields["id"]] = int(last.partition("-")[0])
                                assert f'"name":"{fields["id"]}"' in fields["row"]
                                assert (fields["by"], fields["revision"]) == ("api", "1")
            assert seen == made

    async def test_no_row_of_a_user_is_in_the_stream(
        self, site: Site, server: servers.RedisServer
    ) -> None:
        """Keys and password hashes stay inside; that there was a commit is told, and its view
        asks the data service."""
        async with joined(site.file) as here:
            user = User(
                id="u1",
                name="eve",
                account=AccountId(""),
                domain=DomainId(""),
                secret_key="a secret of the tests",
            )
            number = await here.commit(created(user))
            assert encoded(user).find(b"a secret of the tests") > 0
            assert await whole(here, site, server) >= number
            with stranger_at(server) as stranger:
                entry: Any = stranger.xrange(stream_of(site), f"{number}-0", f"{number}-0")
                assert entry[0][1][b"id"] == b"u1"
                assert b"row" not in entry[0][1]

    async def test_a_stream_of_another_database_goes(
        self, site: Site, server: servers.RedisServer
    ) -> None:
        """Somebody restored a backup: the numbers mean other commits now."""
        with stranger_at(server) as stranger:
            async with joined(site.file) as here, joined(site.file) as there:
                view = await there.view()
                await reaches(view, await here.zones(new_id()[:8], 3))
                site.publisher.cloud.kill("data")
                stranger.xadd(
                    stream_of(site), {"kind": "zone", "id": "ghost", "revision": "1", "row": "{}"},
                    id="1000000-0",
                )  # fmt: skip
                site.publisher.cloud.start("data")
                await reaches(view, await here.zones(new_id()[:8], 3))
                await whole(here, site, server)
                entries: Any = stranger.xrange(stream_of(site))
                assert b"ghost" not in [fields[b"id"] for _, fields in entries]
                view.close()


def stranger_at(server: servers.RedisServer, **options: Any) -> Any:
    """Plain redis-py."""
    return redis.Redis(host=server.host, port=server.port, **options)


def stream_of(site: Site) -> str:
    return f"csnode:{Config.read(site.file, {}, {}).node.cluster}:feed"


async def whole(here: Joined, site: Site, server: servers.RedisServer) -> int:
    """Wait until the stream ends where the feed does; each number is in it once, in order."""
    number = await here.commit(created(Zone(id=new_id(), name=new_id())))
    with stranger_at(server) as stranger:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                entries: Any = stranger.xrange(stream_of(site))
                numbers = [int(id.partition(b"-")[0]) for id, _ in entries]
                if numbers and numbers[-1] >= number:
                    break
                await asyncio.sleep(0.05)
    assert numbers == list(range(1, numbers[-1] + 1))
    return number
