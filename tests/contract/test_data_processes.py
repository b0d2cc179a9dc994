"""Several data processes on one PostgreSQL: whoever is killed, frozen or cut off, and whenever."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from csnode import clock
from csnode.bus.local import LocalBus
from csnode.context import Context
from csnode.contracts.data import Commit, Committed, Count, Data, Hold, Take, Update
from csnode.data.rows import decoded, encoded
from csnode.directory.alone import AloneDirectory
from csnode.faults import Conflict, Full, Unavailable
from csnode.model.place import Zone
from csnode.model.stock import Lease, Lock, Range, Taken, Tally
from csnode.testing.data_cloud import created, outcomes, updated
from roles.data import postgres, shared, writer
from roles.data.batch import Batch
from roles.data.config import DataConfig
from tests import servers
from tests.contract.data_writer import insist, playing

KINDS = ("range", "zone", "taken", "lock", "tally", "lease")
PATIENCE_S = 60.0
OTHERS_AT_WORK = """SELECT count(*) FROM pg_stat_activity
                    WHERE xact_start IS NOT NULL AND datname = current_database()
                    AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture
def url(server: servers.PostgresServer) -> str:
    return server.database()


@asynccontextmanager
async def processes(url: str, count: int) -> AsyncGenerator[Sequence[Data]]:
    """That many data roles, each on a bus of its own."""
    async with AsyncExitStack() as opened:
        made: list[Data] = []
        for _ in range(count):
            bus = LocalBus(AloneDirectory())
            await opened.enter_async_context(playing(bus, DataConfig(url=url)))
            made.append(bus.ask(Data))
        yield made


def commit(data: Data, *changes: object, token: str = "") -> asyncio.Future[Committed]:
    wanted = Commit(changes=changes, token=token)  # type: ignore[reportArgumentType]
    return asyncio.ensure_future(data.commit(wanted))


async def agrees(url: str, acknowledged: dict[str, int]) -> None:
    """Everything acknowledged is there, under its number, and the books are in order."""
    async with processes(url, 1) as (data,):
        feed = await data.feed(0, KINDS, 1_000_000)
        assert [e.number for _, e in feed.entries] == list(range(1, len(feed.entries) + 1))
        fed = {entry.id: entry.number for kind, entry in feed.entries if kind == "zone"}
        assert {id: fed.get(id) for id in acknowledged} == acknowledged
        found = await data.find("taken", {"range": "r"}, "", 1_000_000)
        assert sorted(decoded(Taken, r.row).value for r in found) == list(range(len(fed)))
        assert len({decoded(Taken, r.row).owner for r in found}) == len(fed)
        assert await data.check() == ()


# -- two roles in one process --------------------------------------------------------------------


async def test_all_at_once_take_each_value_once_and_no_limit_is_passed(url: str) -> None:
    async with processes(url, 3) as all_of_them:
        one = all_of_them[0]
        await commit(one, created(Range(id="r", low=0, high=99)))

        async def take(n: int) -> int | str:
            data = all_of_them[n % 3]
            try:
                count = Count(owner="a", by={"vm": 1}, limits={"vm": 80})
                return (await commit(data, Take(range="r", owner=f"o{n}"), count)).got[0]
            except Full:
                return "full"

        got = await asyncio.gather(*map(take, range(150)))
        assert sorted(v for v in got if isinstance(v, int)) == list(range(80))
        assert got.count("full") == 70
        for data in all_of_them:
            tally = decoded(Tally, (await data.get("tally", "a")).row)
            assert tally.used == {"vm": 80}
            numbers = [e.number for _, e in (await data.feed(0, KINDS, 1000)).entries]
            assert numbers == list(range(1, 162))
            assert await data.check() == ()


async def test_a_token_counts_once_whoever_is_asked(url: str) -> None:
    async with processes(url, 2) as (one, other):
        count = Count(owner="a", by={"vm": 1})
        for turn in range(10):
            both = (commit(data, count, token=f"t{turn}") for data in (one, other, other, one))
            answers = await asyncio.gather(*both)
            assert answers == [answers[0]] * 4
        assert decoded(Tally, (await one.get("tally", "a")).row).used == {"vm": 10}


async def test_a_commit_that_was_answered_is_seen_by_all(url: str) -> None:
    async with processes(url, 2) as (one, other):
        for n in range(20):
            writer, reader = (one, other) if n % 2 else (other, one)
            done = await commit(writer, created(Zone(id=f"z{n}", name=f"z{n}")))
            assert await reader.head(("zone",)) == done.number == 4 * n + 1
            assert (await reader.get("zone", f"z{n}")).id == f"z{n}"
            fed = (await reader.feed(4 * n, ("zone",), 9)).entries
            assert [e.number for _, e in fed] == [4 * n + 1]
            again = [created(Zone(id=f"z{n}", name="x")), created(Zone(id="x", name=f"z{n}"))]
            ended = await outcomes(*(commit(reader, change) for change in again))
            assert list(ended) == [Conflict, Conflict]
            await commit(reader, updated(Zone, f"z{n}", dns1=f"198.18.0.{n}"))
            await commit(reader, updated(Zone, f"z{n}", dns1=""))
            assert b"198.18" not in (await writer.get("zone", f"z{n}")).row
            await commit(writer, created(Lock(id=f"l{n}", job="j")))
            assert await reader.heads(("zone", "lock")) == (4 * n + 3, 4 * n + 4)
        assert await one.check() == ()


async def test_who_falls_far_behind_reads_everything_anew(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FOLLOW_MAX", 5)
    async with processes(url, 2) as (one, other):
        await commit(other, created(Zone(id="z", name="z")), created(Range(id="r", low=0, high=99)))
        for n in range(20):
            await commit(one, updated(Zone, "z", name=f"{n}"), Take(range="r", owner=f"o{n}"))
        assert (await commit(other, Take(range="r", owner="late"))).got == (20,)
        columns = encoded({"dns1": "198.18.0.1"})
        await commit(other, Update(kind="zone", id="z", columns=columns, revision=21))
        assert decoded(Zone, (await one.get("zone", "z")).row).name == "19"


async def test_leases_go_by_the_servers_clock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts of two data processes are an hour apart."""
    real = clock.wall()
    async with processes(url, 2) as (one, other):
        await commit(one, Hold(name="l", holder="a", seconds=600))
        monkeypatch.setattr(clock, "wall_source", lambda: real + 3600)
        assert await outcomes(commit(other, Hold(name="l", holder="b", seconds=600))) == [Conflict]
        lease = decoded(Lease, (await one.get("lease", "l")).row)
        assert real < lease.until < real + 600 + PATIENCE_S


async def test_a_process_that_freezes_in_its_turn_loses_it(url: str) -> None:
    async with processes(url, 1) as (data,), postgres.opened(url, "") as frozen:
        await frozen.take_turn()
        done = await asyncio.wait_for(commit(data, created(Zone(id="z", name="z"))), PATIENCE_S)
        assert done.number == 1
        with pytest.raises(Unavailable):  # it wakes, and what it was at fails whole
            await frozen.write([("DELETE FROM zone WHERE id = ANY($1::text[])", [("z",)])])
        assert (await data.get("zone", "z")).id == "z"


def wait_for_no_turn(url: str) -> None:
    """Until no session of the server has a transaction open. It holds up whoever calls it."""

    async def wait() -> None:
        line = await postgres.asyncpg.connect(url)
        try:
            while await line.fetchval(OTHERS_AT_WORK):
                pass
        finally:
            await line.close()

    waiting = threading.Thread(target=lambda: asyncio.run(wait()))
    waiting.start()
    waiting.join()


def stalling(url: str, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """So often a batch stands still in its turn, until the server has ended its session."""
    monkeypatch.setitem(postgres.SESSION, "idle_in_transaction_session_timeout", "500ms")
    stalls: list[int] = []

    class Stalling(Batch):
        def add(self, commit: Commit, context: Context, stored_answer: bytes) -> Committed:
            if len(stalls) < times:
                stalls.append(self.number)
                wait_for_no_turn(url)
            return super().add(commit, context, stored_answer)

    monkeypatch.setattr(writer, "Batch", Stalling)
    return stalls


async def test_a_batch_that_loses_its_turn_before_it_is_written_takes_another(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = stalling(url, monkeypatch, 1)
    async with processes(url, 1) as (data,):
        count = Count(owner="a", by={"vm": 1})
        done = await commit(data, created(Zone(id="z", name="z")), count, token="t")
        assert len(stalls) == 1
        assert [e.id for _, e in (await data.feed(0, ("zone",), 9)).entries] == ["z"]
        assert decoded(Tally, (await data.get("tally", "a")).row).used == {"vm": 1}
        assert await commit(data, token="t") == done
        assert await data.check() == ()


async def test_a_batch_that_loses_every_turn_fails_whole(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = stalling(url, monkeypatch, writer.TURNS)
    async with processes(url, 1) as (data,):
        with pytest.raises(Unavailable):
            await commit(data, created(Zone(id="z", name="z")))
        assert len(stalls) == writer.TURNS
        assert (await commit(data, created(Zone(id="z", name="z")))).number == 1
        assert await data.check() == ()


async def test_two_that_start_at_once_make_the_tables_once(url: str) -> None:
    async with AsyncExitStack() as opened:
        buses = [LocalBus(AloneDirectory()) for _ in range(3)]
        playings = [playing(bus, DataConfig(url=url)) for bus in buses]
        await asyncio.gather(*(opened.enter_async_context(one) for one in playings))
        done = [await commit(b.ask(Data), created(Lock(id=f"{n}", job="j")))
                for n, b in enumerate(buses)]  # fmt: skip
        assert [d.number for d in done] == [1, 2, 3]


# -- real processes ------------------------------------------------------------------------------


class Writer:
    """A process that commits until it is killed."""

    def __init__(self, url: str, life: str) -> None:
        here = [sys.executable, "-m", "tests.contract.data_writer", url, life]
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self.process = subprocess.Popen(here, stdout=subprocess.PIPE, stderr=self._words, text=True)
        self.acknowledged: dict[str, int] = {}
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith("\n"):
                id, number = line.split()
                self.acknowledged[id] = int(number)

    async def more(self, count: int) -> None:
        """Wait until so many more commits were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < wanted:
                assert self.process.poll() is None, f"the writer ended:\n{self._last_words()}"
                await asyncio.sleep(0.005)

    def _last_words(self) -> str:
        self._words.seek(0)
        return self._words.read()[-4000:].decode(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()
        assert self.process.stdout
        self.process.stdout.close()
        self._words.close()


@asynccontextmanager
async def writing(url: str, *names: str) -> AsyncGenerator[list[Writer]]:
    """Processes; more may be added. All are killed in the end."""
    writers = [Writer(url, name) for name in names]
    try:
        yield writers
    finally:
        for writer in writers:
            writer.kill()


def said(writers: Sequence[Writer]) -> dict[str, int]:
    return {id: number for writer in writers for id, number in writer.acknowledged.items()}


async def test_of_two_processes_one_is_killed_again_and_again(url: str) -> None:
    async with writing(url, "a", "b0") as writers:
        for life in range(1, 4):
            await writers[-1].more(40 + 53 * life)
            writers[-1].kill()
            await writers[0].more(100)  # nobody waits for the dead
            writers.append(Writer(url, f"b{life}"))
        await writers[-1].more(50)
    assert len(said(writers)) > 400
    await agrees(url, said(writers))


async def test_of_two_processes_one_is_frozen(url: str) -> None:
    async with writing(url, "a", "b") as (one, other):
        for _ in range(5):
            await other.more(37)
            other.process.send_signal(signal.SIGSTOP)
            await one.more(100)
            other.process.send_signal(signal.SIGCONT)
        await other.more(100)
    await agrees(url, said([one, other]))


async def test_one_that_is_frozen_between_preparing_a_statement_and_its_run_loses_its_turn(
    url: str,
) -> None:
    """To the server it is not idle then: no timeout of its own ends it."""
    async with processes(url, 1) as (data,):
        await commit(data, created(Zone(id="z0", name="z0")))
        frozen = await postgres.asyncpg.connect(url, server_settings=postgres.SESSION)
        try:
            await frozen.execute(postgres.sql.TURN)
            await frozen.prepare("SELECT 1")
            async with asyncio.timeout(PATIENCE_S / 2):
                await insist(data, Commit(changes=(created(Zone(id="z1", name="z1")),)))
            with pytest.raises(postgres.LOST):
                await frozen.fetch("SELECT 1")
        finally:
            frozen.terminate()


async def test_the_server_is_killed_and_started_under_load() -> None:
    with servers.postgres() as server:
        url = server.database()
        async with writing(url, "a", "b") as (one, other):
            for _ in range(3):
                await one.more(150)
                server.kill()
                await asyncio.to_thread(server.start)
                await asyncio.gather(one.more(50), other.more(50))
        await agrees(url, said([one, other]))


async def test_a_server_that_hangs_is_said_to_be_unavailable_and_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "ANSWER_S", 0.5)
    monkeypatch.setattr(postgres, "CONNECT_S", 0.5)
    monkeypatch.setattr(postgres, "READ_S", 0.5)
    with servers.postgres() as server:
        async with processes(server.database(), 1) as (data,):
            await commit(data, created(Zone(id="z0", name="z0")))
            server.freeze()
            try:
                asked = (commit(data, created(Zone(id="z1", name="z1"))), data.head(("zone",)))
                assert list(await outcomes(*asked)) == [Unavailable, Unavailable]
            finally:
                server.thaw()
            wanted = Commit(changes=(created(Zone(id="z2", name="z2")),))
            async with asyncio.timeout(PATIENCE_S):
                await insist(data, wanted)
            with suppress(Unavailable):
                assert await data.check() == ()
