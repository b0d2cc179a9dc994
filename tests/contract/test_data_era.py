"""An era that begins among commits: on either database nothing stays that was half of each."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from csnode.bus.event import Changed
from csnode.bus.local import LocalBus
from csnode.context import acting, era_of, first_after
from csnode.contracts.data import Commit, Hold
from csnode.data.store import Store
from csnode.data.view import View
from csnode.directory.alone import AloneDirectory
from csnode.faults import Outdated, Unavailable
from csnode.model.place import Zone
from csnode.testing.data_cloud import created
from roles.data import postgres
from roles.data.config import DataConfig
from roles.data.role import DataRole
from roles.data.writer import Era
from tests import servers
from tests.contract.data_writer import role_of


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest) -> DataConfig:
    if request.param == "sqlite":
        return DataConfig(path=":memory:", inline=True)
    return DataConfig(url=request.getfixturevalue("server").database())


def hold(name: str) -> Commit:
    return Commit(changes=(Hold(name=name, holder="h", seconds=500.0),))


def zone(id: str) -> Commit:
    return Commit(changes=(created(Zone(id=id, name=id)),))


async def begin_era_among_commits(role: DataRole, beyond: int) -> None:
    """All of it is asked for while a batch is on its way, so it waits together."""
    first = role.writer.put(hold("first"))
    await asyncio.sleep(0)
    rest = [role.writer.put(wanted) for wanted in (zone("b"), Era(beyond), zone("c"))]
    await asyncio.gather(first, *rest)


async def test_nothing_of_the_feed_from_before_an_era_outlives_its_beginning(
    config: DataConfig,
) -> None:
    async with role_of(LocalBus(AloneDirectory()), config) as role:
        for n in range(5):
            await role.writer.put(hold(f"a{n}"))
        await begin_era_among_commits(role, 100)
        start = first_after(100)
        assert await role.stored.marks() == (start + 1, start)
        async with asyncio.timeout(30):
            await role.writer.trim(1, 0.0)  # it would count through all numbers between
        assert await role.check() == ()


async def test_the_first_event_of_an_era_says_that_it_follows_its_beginning(
    config: DataConfig,
) -> None:
    """By that, a view that is further on notices that what it holds was of another future."""
    bus = LocalBus(AloneDirectory())
    heard: list[Changed] = []
    bus.subscribe(Changed, heard.append, "zone")
    async with role_of(bus, config) as role:
        await role.writer.put(zone("a"))
        view = View(Store(bus, "api"), (Zone,))
        await view.open()
        await begin_era_among_commits(role, 100)
        await view.fresh()
        assert {row.id for row in view.all(Zone)} == {"a", "b", "c"}
        assert heard[-1].before == first_after(100)
        view.close()


async def elsewhere(url: str) -> None:
    """As if the database had come up on another server, or on another timeline."""
    async with postgres.opened(url, "") as database:
        await database.ask("UPDATE era SET server = '9/1'")


async def accepts(role: DataRole, fence: int, name: str) -> bool:
    try:
        with acting(fence=fence):
            await role.commit(hold(name))
    except Outdated:
        return False
    return True


@pytest.mark.parametrize("first", ["meet", "commit"])
async def test_orders_of_a_future_that_was_lost_with_its_server_are_refused(
    server: servers.PostgresServer, first: str
) -> None:
    config = DataConfig(url=server.database())
    async with role_of(LocalBus(AloneDirectory()), config) as role:
        await role.commit(hold("a"))
        last, _ = await role.stored.marks()
        mark = role.identity.mark(last + 100, await role.stored.time())
    await elsewhere(config.url)
    async with role_of(LocalBus(AloneDirectory()), config) as role:
        if first == "commit":
            await role.commit(hold("b"))
        met = await role.meet(mark)
        assert era_of(met.mark.number) == 1
        assert (await role.meet(mark)).mark.number == met.mark.number
        assert not await accepts(role, last + 90, "c")
        assert await accepts(role, met.mark.number, "d")
    async with role_of(LocalBus(AloneDirectory()), config) as role:
        assert era_of((await role.meet(mark)).mark.number) == 1
        assert await role.check() == ()


async def test_orders_go_on_over_many_failovers_that_lost_nothing(
    server: servers.PostgresServer,
) -> None:
    config = DataConfig(url=server.database())
    async with role_of(LocalBus(AloneDirectory()), config) as role:
        await role.commit(hold("a"))
        mark = (await role.meet(None)).mark
    async with postgres.opened(config.url, "") as database:
        for turn in range(300):
            await database.ask("UPDATE era SET server = '9/1'")
            database.hang_up()
            await database.take_turn()
            await database.pass_on()
            assert len(database.lost) == turn + 1
    async with role_of(LocalBus(AloneDirectory()), config) as role:
        assert era_of((await role.meet(mark)).mark.number) == 0
        assert await accepts(role, mark.number, "b")


async def test_a_batch_whose_connection_was_hung_up_meanwhile_says_to_ask_again(
    server: servers.PostgresServer,
) -> None:
    """A reading connection that finds a failover ends the writing one."""
    url = server.database()
    async with postgres.opened(url, "") as database:
        for step in (lambda: database.ask_writer("SELECT 1"), lambda: database.write([]),
                     database.pass_on):  # fmt: skip
            database.hang_up()
            with pytest.raises(Unavailable):
                await step()
