"""Migration 0006: hosts that a csnode of before counted without MHz are counted with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from csnode.model.host import Host
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud, sim_config
from csnode.testing.loop import simulate
from roles.data import place, postgres, sqlite
from roles.data.config import DataConfig
from roles.data.engine import Asking
from roles.data.migrate import go_back, go_back_shared
from roles.data.place import Place
from tests import servers
from tests.sim.world import forget_outside, prepared
from tests.unit.data_role.test_schema_back import moved

OLD = (  # as a csnode of wire 3 has it: tally and last entry know no MHz
    'UPDATE tally SET "row" = replace("row", \'"mhz":1000,\', \'\')',
    "UPDATE feed SET \"row\" = replace(\"row\", '\"mhz\":1000,', '') WHERE kind = 'tally'",
)


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def cloud_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a cloud whose one host runs a machine, and takes in one that moves there."""
    folder = tmp_path_factory.mktemp("cloud")
    forget_outside()

    async def story() -> None:
        async with SimCloud(sim_config(folder, 1)) as cloud:
            params = await prepared(cloud)
            for _ in range(2):
                job = await cloud.settle("deployVirtualMachine", **params)
                assert job["jobstatus"] == 1, job
            (host,) = await cloud.store.find(Host)
            assert (await cloud.store.get(Tally, host.id)).used["mhz"] == 1000
            vm = (await cloud.store.find(Vm))[0]
            change = cloud.store.acting_as("orchestrator").change()
            change.update(Vm, vm.id, host=None, moving_to=host.id)
            await change.commit()

    simulate(story())
    return folder / "csnode.db"


@pytest.fixture
def used(cloud_file: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(cloud_file, tmp_path))


async def texts(there: Place, query: str) -> list[bytes]:
    """One text for each row of the answer."""

    def asking() -> Asking[bytes]:
        join = "string_agg" if there.database.dialect.name == "postgresql" else "group_concat"
        return (yield f"SELECT {join}(one, '|') FROM ({query}) AS found", ())

    return (await there.database.reading(asking())).split(b"|")


async def counted(there: Place) -> dict[str, int]:
    """What the host's tally says, after proof that its last entry in the feed says the same."""
    of_host = "FROM tally WHERE id IN (SELECT id FROM host)"
    (row,) = await texts(there, f"SELECT revision || ' ' || \"row\" AS one {of_host}")
    feed = "SELECT revision || ' ' || \"row\" AS one, number FROM feed WHERE kind = 'tally'"
    hosts = f"{feed} AND id IN (SELECT id FROM host) ORDER BY number DESC LIMIT 1"
    assert await texts(there, hosts) == [row]
    last = await texts(there, "SELECT max(number) || '' AS one FROM feed WHERE kind = 'tally'")
    assert await texts(there, "SELECT number || '' AS one FROM head WHERE kind = 'tally'") == last
    last = await texts(there, "SELECT max(number) || '' AS one FROM feed")
    assert (await there.stored.marks())[0] == int(last[0])
    revision, _, text = row.partition(b" ")
    found = json.loads(text)
    assert found["revision"] == int(revision)
    return dict(found["used"])


async def test_hosts_are_counted_with_mhz_on_sqlite(used: Path) -> None:
    config = DataConfig(path=str(used))
    async with place.opened(config, "") as there:
        before = await counted(there)
    async with sqlite.opened(str(used), inline=True) as database:
        go_back(database, "0005")
        await database.transact([(statement, [()]) for statement in OLD])
        entries = database.rows("SELECT count(*) FROM feed")[0][0]
    for _ in range(2):  # the second time there is nothing to do
        async with place.opened(config, "") as there:
            assert await counted(there) == before
            assert before["mhz"] == 1000
            assert await texts(there, "SELECT count(*) || '' AS one FROM feed") == [
                str(entries + 1).encode()
            ]
        async with sqlite.opened(str(used), inline=True) as database:
            go_back(database, "0005")


async def test_hosts_are_counted_with_mhz_on_postgresql(
    used: Path, server: servers.PostgresServer
) -> None:
    url = server.database()
    await moved(used, url)
    async with postgres.opened(url, "") as database:
        await go_back_shared(database, "0005")
        for statement in OLD:
            await database.ask(statement)
    async with place.opened(DataConfig(url=url), "") as there:
        after = await counted(there)
        assert (after["mhz"], after["vm"], after["cpu"]) == (1000, 2, 2)
