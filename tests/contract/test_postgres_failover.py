"""A real primary and its standby: what a promotion, a silent standby and a cut may not lose."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress

import pytest

from csnode.bus.local import LocalBus
from csnode.contracts.data import Commit, Committed, Data
from csnode.data.store import Store
from csnode.data.view import View
from csnode.directory.alone import AloneDirectory
from csnode.faults import Invalid, Unavailable
from csnode.model.alert import Alert
from csnode.model.place import Zone
from csnode.testing.data_cloud import created
from csnode.testing.patience import patient
from roles.data import postgres
from roles.data.config import DataConfig
from roles.data.role import DataRole
from tests import servers
from tests.contract.data_writer import insist, playing, role_of

Pair = tuple[servers.PostgresServer, servers.PostgresStandby]


@pytest.fixture
def pair() -> Generator[Pair]:
    """One that a test promotes."""
    with servers.postgres_pair() as pair:
        yield pair


@pytest.fixture(scope="module")
def both() -> Generator[Pair]:
    with servers.postgres_pair() as pair:
        yield pair


@pytest.fixture
def steady(both: Pair) -> Generator[Pair]:
    """One that goes on as it began, so that tests share it."""
    yield both
    both[1].thaw()
    both[0].setting("synchronous_standby_names", "")


def url(pair: Pair) -> str:
    """Both hosts, and the database of each."""
    name = pair[0].database().rpartition("/")[2]
    both = ",".join(server.address for server in pair)
    return f"postgresql://{pair[0].login()}@{both}/{name}"


def synchronous(pair: Pair) -> None:
    pair[0].setting("synchronous_standby_names", "*")
    state = "SELECT sync_state FROM pg_stat_replication"
    servers.wait_until(lambda: pair[0].sql(state) == "sync", "the standby is synchronous")


def fail_over(pair: Pair) -> None:
    """The primary is gone at once; its standby takes over, and waits for nobody."""
    primary, standby = pair
    primary.kill()
    standby.promote()
    standby.setting("synchronous_standby_names", "")


@asynccontextmanager
async def served(at: str) -> AsyncGenerator[tuple[Data, Store]]:
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(url=at)):
        yield bus.ask(Data), Store(bus, "fabric")


def zone(id: str) -> Commit:
    return Commit(changes=(created(Zone(id=id, name=id)),), token=id)


def seen(server: servers.PostgresServer, at: str, id: str) -> str:
    return server.sql(f"SELECT count(*) FROM zone WHERE id = '{id}'", at.rpartition("/")[2])


# -- promotion -----------------------------------------------------------------------------------


async def test_a_promoted_synchronous_standby_has_every_acknowledged_commit(pair: Pair) -> None:
    at = url(pair)
    synchronous(pair)
    async with served(at) as (data, _):
        before = [await insist(data, zone(f"z{n}")) for n in range(20)]
        fail_over(pair)
        after = [await insist(data, zone(f"z{n}")) for n in range(20, 25)]
        numbers = [answer.number for answer in (*before, *after)]
        assert numbers == sorted(set(numbers))
        ids = {row.id for row in await data.find("zone", {}, "", 1000)}
        assert ids == {f"z{n}" for n in range(25)}
        assert await data.check() == ()


async def test_a_promoted_standby_that_lagged_gives_no_number_again_and_views_begin_anew(
    pair: Pair,
) -> None:
    at = url(pair)
    async with served(at) as (data, store):
        kept = await insist(data, zone("kept"))
        pair[1].until("SELECT pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()", "t")
        servers.wait_until(lambda: seen(pair[1], at, "kept") == "1", "the standby has it")
        pair[1].part()
        lost = [await insist(data, zone(f"lost{n}")) for n in range(5)]
        view = View(store, (Zone,))
        await view.open()
        assert len(view.all(Zone)) == 6
        fail_over(pair)
        new = [await insist(data, zone(f"new{n}")) for n in range(9)]  # past where it was
        given = {answer.number for answer in (kept, *lost)}
        assert not given & {answer.number for answer in new}
        assert min(answer.number for answer in new) > max(given)
        await view.fresh()
        assert {row.id for row in view.all(Zone)} == {"kept", *(f"new{n}" for n in range(9))}
        past = await data.history("kept", "", 10)
        assert [one.entry.id for one in past] == ["kept"]
        assert await data.check() == ()
        view.close()


async def test_a_primary_that_fell_silent_keeps_no_reader_waiting_for_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = url(pair)
    synchronous(pair)
    async with served(at) as (data, store):
        await insist(data, zone("a"))
        view = View(store, (Zone,))
        await view.open()
        await view.fresh()
        monkeypatch.setattr(postgres, "READ_S", 1e6)
        monkeypatch.setattr(postgres, "ANSWER_S", 2.0)
        pair[0].freeze()  # as a host without power: no connection ends
        pair[1].promote()
        pair[1].setting("synchronous_standby_names", "")
        async with asyncio.timeout(patient(60)):
            while True:
                with suppress(Unavailable):
                    await view.fresh()
                    break
            await insist(data, zone("b"))
            await view.fresh()
        assert {row.id for row in view.all(Zone)} == {"a", "b"}
        view.close()
    pair[0].thaw()


async def test_a_primary_that_was_left_behind_is_not_used_when_it_comes_back(pair: Pair) -> None:
    at = url(pair)
    async with served(at) as (data, _):
        await insist(data, zone("before"))
        pair[1].until("SELECT pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()", "t")
        servers.wait_until(lambda: seen(pair[1], at, "before") == "1", "the standby has it")
        fail_over(pair)
        await insist(data, zone("after"))
        pair[0].start()
        async with served(at) as (another, _):  # knows nothing of what was
            await insist(another, zone("later"))
            assert seen(pair[1], at, "later") == "1"
            assert seen(pair[0], at, "later") == "0"
        pair[1].kill()
        with pytest.raises(Unavailable, match="left behind"):
            await refused(data, zone("stray"))
        assert seen(pair[0], at, "stray") == "0"


async def refused(data: Data, commit: Commit) -> Committed:
    """Its answer, when connections that were lost have been noticed."""
    while True:
        try:
            return await data.commit(commit)
        except Unavailable as fault:
            if "left behind" in fault.message:
                raise
            await asyncio.sleep(0.05)


async def test_a_host_that_swallows_what_it_is_sent_keeps_nobody_from_the_next(
    steady: Pair,
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(16)
        name = steady[0].database().rpartition("/")[2]
        swallowing = f"127.0.0.1:{deaf.getsockname()[1]}"
        both = f"{swallowing},{steady[0].address}"
        async with served(f"postgresql://{steady[0].login()}@{both}/{name}") as (data, _):
            await insist(data, zone("a"))
            assert (await data.get("zone", "a")).id == "a"


async def test_a_standby_alone_is_no_place_to_write() -> None:
    for attribute in ("any", "standby", "read-only", "prefer-standby"):
        wrong = f"postgresql://u@h1,h2/d?target_session_attrs={attribute}"
        with pytest.raises(Invalid, match="read-write"):
            async with postgres.opened(wrong, ""):
                raise AssertionError(wrong)


# -- waiting for the standby ---------------------------------------------------------------------


async def test_a_commit_that_no_standby_confirms_is_neither_seen_nor_acknowledged(
    steady: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = url(steady)
    synchronous(steady)
    async with served(at) as (data, _):
        await insist(data, zone("a"))
        monkeypatch.setattr(postgres, "ANSWER_S", 0.5)
        steady[1].freeze()
        with pytest.raises(Unavailable, match="standby"):
            await data.commit(zone("b"))
        assert seen(steady[0], at, "b") == "0"  # nobody ended its wait
        monkeypatch.undo()
        steady[1].thaw()
        await insist(data, zone("b"))
        assert seen(steady[1], at, "b") == "1"
        assert await data.check() == ()


async def test_a_commit_whose_caller_is_ended_waits_on_for_the_standby(steady: Pair) -> None:
    at = url(steady)
    async with served(at):
        pass  # has made the tables
    synchronous(steady)
    async with postgres.opened(at, "") as database:
        await database.take_turn()
        steady[1].freeze()
        insert = "INSERT INTO feed SELECT 9, 'x', 'y', 1, 0, '', '', u FROM unnest($1::text[]) AS u"
        writing = asyncio.create_task(database.write([(insert, [("",)])]))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        while steady[0].sql(asked) != "1":
            await asyncio.sleep(0.01)
        writing.cancel()
        await asyncio.wait((writing,))
        database.hang_up()
        name = at.rpartition("/")[2]
        assert steady[0].sql("SELECT count(*) FROM feed WHERE number = 9", name) == "0"
        assert steady[0].sql(asked) == "1"
    steady[1].thaw()


async def test_a_commit_that_an_operator_ended_is_acknowledged_once_a_standby_has_it(
    steady: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = url(steady)
    synchronous(steady)
    async with served(at) as (data, _):
        await insist(data, zone("a"))
        steady[1].freeze()
        committing = asyncio.create_task(data.commit(zone("b")))
        ended = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = {}"
        while steady[0].sql(ended.format("'SyncRep'")) == "0":
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="standby"):
            await committing
        assert seen(steady[0], at, "b") == "1"  # PostgreSQL has it, here alone
        monkeypatch.setattr(postgres, "ANSWER_S", 0.5)
        with pytest.raises(Unavailable):
            await data.commit(zone("b"))
        monkeypatch.undo()
        steady[1].thaw()
        await insist(data, zone("b"))
        assert seen(steady[1], at, "b") == "1"


# -- being told ----------------------------------------------------------------------------------


async def test_a_standby_that_is_not_synchronous_is_warned_of(steady: Pair) -> None:
    bus = LocalBus(AloneDirectory())
    at = url(steady)
    async with role_of(bus, DataConfig(url=at)) as role:
        await role.look_at_standbys()
        assert "none is synchronous" in "".join(role.warnings())
        assert role.troubles() == ()
        alerts = await Store(bus, "data").find(Alert)
        assert [alert.text for alert in alerts] == list(role.warnings())
        (finding,) = await DataRole.examined(DataConfig(url=at))
        assert "none is synchronous" in finding["warn"]
        assert "synchronous_standby_names" in finding["remedy"]
        synchronous(steady)
        await role.look_at_standbys()
        assert role.warnings() == ()
        (finding,) = await DataRole.examined(DataConfig(url=at))
        assert finding.keys() == {"good"}
