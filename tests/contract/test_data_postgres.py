"""The data role passes its suite on PostgreSQL, alone and as one of two processes."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from csnode import clock
from csnode.bus.bus import Bus
from csnode.bus.local import LocalBus
from csnode.directory.alone import AloneDirectory
from csnode.testing.data import DurableDataSuite
from roles.data import postgres
from roles.data.config import DataConfig
from tests import servers
from tests.contract.data_pair import playing_twice
from tests.contract.data_writer import playing


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def migrated(server: servers.PostgresServer) -> str:
    """A database with the schema and no more: to copy one is faster than to migrate one."""

    async def open_and_close(url: str) -> None:
        async with playing(LocalBus(AloneDirectory()), DataConfig(url=url)):
            pass

    url = server.database()
    asyncio.run(open_and_close(url))
    return url


@pytest.fixture
def world_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite turns this process's clock; the server's is to go with it."""

    def ours(_: float) -> float:
        return clock.wall()

    monkeypatch.setattr(postgres, "clock_source", ours)


@pytest.mark.usefixtures("world_clock")
class OnPostgres(DurableDataSuite):
    """A new database for each test."""

    @pytest.fixture(autouse=True)
    def database(self, server: servers.PostgresServer, migrated: str) -> Generator[None]:
        self.server, self.url = server, server.database(migrated)
        yield
        self.sql(f"DROP DATABASE IF EXISTS {self.name}_kept WITH (FORCE)")
        self.sql(f"DROP DATABASE {self.name} WITH (FORCE)")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def sql(self, statement: str) -> None:
        self.server.sql(statement)

    def keep(self, state: Path) -> None:
        self.sql(f"CREATE DATABASE {self.name}_kept TEMPLATE {self.name}")

    def bring_back(self, state: Path) -> None:
        self.sql(f"DROP DATABASE {self.name} WITH (FORCE)")
        self.sql(f"CREATE DATABASE {self.name} TEMPLATE {self.name}_kept")


class TestPostgres(OnPostgres):
    def serving(self, bus: Bus, state: Path, feed_keep: int):
        return playing(bus, DataConfig(url=self.url, feed_keep=feed_keep))


@pytest.mark.nightly
class TestOneCommitABatch(OnPostgres):
    def serving(self, bus: Bus, state: Path, feed_keep: int):
        return playing(bus, DataConfig(url=self.url, feed_keep=feed_keep, batch_max=1))


class TestTwoProcesses(OnPostgres):
    """They commit by turns, and either is read after the other has written."""

    def serving(self, bus: Bus, state: Path, feed_keep: int):
        return playing_twice(bus, DataConfig(url=self.url, feed_keep=feed_keep))
