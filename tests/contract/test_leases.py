"""Leases of each kind pass their suite; and what Redis cannot promise is shown to be harmless."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from csnode.bus.local import LocalBus
from csnode.config import RedisConfig
from csnode.context import Fences, acting
from csnode.contracts.data import Commit, Data, Update
from csnode.data.rows import decoded, encoded
from csnode.directory.alone import AloneDirectory
from csnode.faults import Outdated, Stale
from csnode.lease.lease import Held
from csnode.lease.redis import RedisLeases
from csnode.model.place import Zone
from csnode.testing.data_cloud import created
from csnode.testing.lease import LeaseSuite, Site, two_of
from roles.data.config import DataConfig
from tests import servers
from tests.contract.data_writer import playing
from tests.system.processes import Cloud, toml, wait_for


class DataProcess:
    """A csnode process that plays the data role, as a server."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.start()
        wait_for(lambda: '"ready"' in cloud.log("data"), 60, "the data process is ready")

    def start(self) -> None:
        self.cloud.start("data")

    def restart(self) -> None:
        self.cloud.kill("data")
        self.start()

    def freeze(self) -> None:
        self.cloud.processes["data"].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.cloud.processes["data"].send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def data_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Cloud(tmp_path_factory.mktemp("data")) as cloud:
        yield Site(keeper=DataProcess(cloud), config=lambda _: cloud.file)


@pytest.fixture(scope="module")
def zookeeper_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("zookeeper")
    with servers.zookeeper() as server:

        def config(seconds: float) -> Path:
            section = {"hosts": [server.address], "session_seconds": seconds}
            return written(folder / f"{seconds}.toml", "zookeeper", section)

        yield Site(keeper=server, config=config)


@pytest.fixture(scope="module")
def redis_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("redis")
    with servers.redis() as server:
        file = written(folder / "csnode.toml", "redis", {"url": server.url})
        yield Site(keeper=server, config=lambda _: file)


def written(file: Path, kind: str, section: Mapping[str, object]) -> Path:
    """The configuration of a process that asks no data service, with leases of that kind."""
    file.write_text(
        toml(
            {
                "node": {"cluster": "leases"},
                "bus": {"zeromq": False},
                "lease": {"kind": kind},
                kind: section,
            }
        )
    )
    return file


class TestData(LeaseSuite):
    @pytest.fixture
    def site(self, data_site: Site) -> Site:
        return data_site


class TestZooKeeper(LeaseSuite):
    @pytest.fixture
    def site(self, zookeeper_site: Site) -> Site:
        return zookeeper_site


class TestRedis(LeaseSuite):
    @pytest.fixture
    def site(self, redis_site: Site) -> Site:
        return redis_site


async def test_the_names_of_leases_that_redis_keeps_are_known_while_they_are_held() -> None:
    """An orchestrator learns by them which of its peers are there."""
    with servers.redis() as server:
        config = RedisConfig(url=server.url)
        async with RedisLeases(config, "c") as leases, RedisLeases(config, "c") as other:
            assert list(await leases.held("work/")) == []
            async with leases.hold("work/b", "me", 30.0), other.hold("other", "me", 30.0):
                async with other.hold("work/a", "me", 30.0):
                    assert sorted(await leases.held("work/")) == ["work/a", "work/b"]
                assert list(await leases.held("work/")) == ["work/b"]
            assert list(await other.held("")) == []


async def test_after_a_failover_of_redis_two_may_hold_a_lease_and_only_one_has_an_effect(
    tmp_path: Path,
) -> None:
    """What took over knows nothing of the first holder, who has not noticed. Whatever both do
    happens once: the later fence wins at components, the earlier commit at the data service."""
    with servers.redis() as server:
        file = written(tmp_path / "csnode.toml", "redis", {"url": server.url})
        site = Site(keeper=server, config=lambda _: file)
        async with two_of(site) as (one, two), one.hold("x", "one", 30.0) as first:
            await asyncio.to_thread(server.forget)
            await asyncio.to_thread(server.start)
            async with two.hold("x", "two", 30.0) as second:
                assert first.ours
                assert second.ours
                assert started(Fences(), second, first) == ["x two"]
                assert await committed(tmp_path / "d.db", second, first) == ["x two"]
                assert await committed(tmp_path / "e.db", first, second) == ["x one"]
                async with asyncio.timeout(60):
                    await first.lost.wait()
                assert second.ours


def started(fences: Fences, *holders: Held) -> list[str]:
    """Who got a component to do something, asking in that order."""
    done: list[str] = []
    for held, who in zip(holders, ("x two", "x one"), strict=True):
        with acting(fence=held.fence), suppress(Outdated):
            fences.check("vm:1")
            done.append(who)
    return done


async def committed(path: Path, *holders: Held) -> list[str]:
    """Who got a commit through, both having read the same revision of what they work on."""
    bus = LocalBus(AloneDirectory())
    done: list[str] = []
    async with playing(bus, DataConfig(path=str(path), inline=True)):
        data = bus.ask(Data)
        await data.commit(Commit(changes=(created(Zone(id="z", name="z")),)))
        first = holders[0].fence > holders[1].fence
        for who in ("x two", "x one") if first else ("x one", "x two"):
            change = Update(kind="zone", id="z", columns=encoded({"name": who}), revision=1)
            with suppress(Stale):
                await data.commit(Commit(changes=(change,), by="orchestrator"))
                done.append(who)
        assert decoded(Zone, (await data.get("zone", "z")).row).name == done[0]
    return done
