"""A stopped cloud is moved to PostgreSQL and back by `csnode data`, and its schema up and down."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from csnode.testing.cloud import SimCloud, sim_config
from csnode.testing.loop import simulate
from roles.data import place
from roles.data.config import DataConfig
from roles.data.migrate import known
from tests import servers
from tests.system.processes import CSNODE, SPLIT, Cloud, wait_for
from tests.system.test_clients import client, prepared
from tests.system.test_verify import verified


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def cloud_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")

    async def story() -> None:
        async with SimCloud(sim_config(folder, 1)) as cloud:
            assert (await cloud.ask("listServiceOfferings"))[0] == 200

    simulate(story())
    return folder / "csnode.db"


@pytest.fixture
def filled(cloud_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(cloud_file, tmp_path / "csnode.db"))


def command(*words: str, at: DataConfig | None = None) -> list[str]:
    at = at or DataConfig()
    chosen = [f"--set=data.path={at.path}", f"--set=data.url={at.url}"]
    return [str(CSNODE), *chosen, "data", *words]


def data(*words: str, at: DataConfig | None = None) -> subprocess.CompletedProcess[str]:
    line = command(*words, at=at)
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def moved(since: str, to: str) -> str:
    ended = data("migrate", "--from", since, "--to", to)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def whole(config: DataConfig) -> dict[str, list[str]]:
    """Every row's id, revision and text; the feed's and the heads' numbers."""

    async def read() -> dict[str, list[str]]:
        async with place.opened(config, "") as there:
            gather = "string_agg" if config.url else "group_concat"
            found: dict[str, list[str]] = {}
            for name in (*there.schema.kinds, "feed"):
                query = (
                    f"SELECT {gather}(id || ' ' || revision || ' ' || \"row\", '|') FROM \"{name}\""
                )
                text = await there.database.text(query, ())
                found[name] = sorted(text.decode().split("|"))
            last, floor = await there.stored.marks()
            heads = await there.stored.known_heads()
            found["_marks"] = [f"{last} {floor}", *(f"{k} {n}" for k, n in sorted(heads.items()))]
            return found

    return asyncio.run(read())


def test_a_cloud_moves_to_postgresql_and_back_whole(
    filled: Path, tmp_path: Path, server: servers.PostgresServer
) -> None:
    before, url, back = whole(DataConfig(path=str(filled))), server.database(), tmp_path / "back.db"
    assert len(before["feed"]) > 20
    assert "moved and checked" in moved(f"sqlite:{filled}", url)
    assert whole(DataConfig(url=url)) == before
    moved(url, f"sqlite:{back}")
    assert whole(DataConfig(path=str(back))) == before
    assert whole(DataConfig(path=str(filled))) == before


def test_rows_are_moved_into_an_empty_database_only(
    filled: Path, server: servers.PostgresServer
) -> None:
    url = server.database()
    moved(f"sqlite:{filled}", url)
    before = whole(DataConfig(url=url))
    for ends in ((f"sqlite:{filled}", url), (url, f"sqlite:{filled}")):
        again = data("migrate", "--from", ends[0], "--to", ends[1])
        assert again.returncode == 69
        assert "rows already" in again.stderr
    assert whole(DataConfig(url=url)) == before == whole(DataConfig(path=str(filled)))


def test_what_cannot_be_kept_whole_leaves_the_target_empty(
    filled: Path, server: servers.PostgresServer
) -> None:
    url = server.database()
    name = url.rpartition("/")[2]
    assert data("schema", at=DataConfig(url=url)).returncode == 69  # nobody's cloud yet
    moved(f"sqlite:{filled}", url)
    server.sql("CREATE TABLE kept AS SELECT * FROM offering", name)
    for table in server.sql(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
        "AND tablename NOT IN ('alembic_version', 'kept')",
        name,
    ).split():
        server.sql(f'DELETE FROM "{table}"', name)
    server.sql(
        "CREATE FUNCTION half() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.revision := NEW.revision + 1; RETURN NEW; END $$;"
        "CREATE TRIGGER half BEFORE INSERT ON offering FOR EACH ROW EXECUTE FUNCTION half()",
        name,
    )
    ended = data("migrate", "--from", f"sqlite:{filled}", "--to", url)
    assert ended.returncode == 69
    assert "offering arrived otherwise" in ended.stderr
    assert server.sql("SELECT count(*) FROM feed", name).strip() == "0"
    server.sql("DROP TRIGGER half ON offering", name)
    moved(f"sqlite:{filled}", url)


@pytest.mark.nightly
def test_the_schema_goes_down_and_up_on_both(filled: Path, server: servers.PostgresServer) -> None:
    url = server.database()
    moved(f"sqlite:{filled}", url)
    for config in (DataConfig(path=str(filled)), DataConfig(url=url)):
        before = whole(config)
        for words, has in ((("--to", "0002"), "0002"), ((), known()[-1])):
            ended = data("schema", *words, at=config)
            assert (ended.returncode, ended.stdout) == (0, f"the schema is {has}\n"), ended.stderr
        assert whole(config)["offering"] == before["offering"]
        assert whole(config)["feed"] == before["feed"]
        assert data("schema", "--to", "9999", at=config).returncode == 78


@pytest.mark.nightly
def test_a_moved_cloud_goes_on_and_is_left_alone_while_it_runs(
    tmp_path: Path, server: servers.PostgresServer
) -> None:
    url, file = server.database(), tmp_path / "state" / "csnode.db"
    with Cloud(tmp_path) as cloud:
        cloud.start()
        cloud.wait_ready()
        code, found = verified(cloud)
        assert (code, found["findings"]) == (0, []), found
        refused = data("migrate", "--from", f"sqlite:{file}", "--to", url)
        assert (refused.returncode, "another csnode process" in refused.stderr) == (69, True)
        cloud.processes["all"].terminate()
        cloud.processes.pop("all").wait(30)
        moved(f"sqlite:{file}", url)
        before = whole(DataConfig(url=url))["_marks"][0]
        cloud.start(settings=(f"data.url={url}",))
        cloud.wait_ready()
        code, found = verified(cloud)
        assert (code, found["findings"]) == (0, []), found
        assert found["commit"] >= int(before.split()[0])
        for words in (("schema", "--to", "0002"), ("schema",)):
            ended = data(*words, at=DataConfig(url=url))
            assert (ended.returncode, "a data process uses" in ended.stderr) == (69, True)
        ended = data("migrate", "--from", url, "--to", f"sqlite:{tmp_path / 'back.db'}")
        assert (ended.returncode, "a data process uses" in ended.stderr) == (69, True)


MANY = 40_000  # rows: a move says so at every 20,000
EARLY, LATE = 20_000, MANY


def killed(since: str, to: str, rows: int) -> None:
    """A move that is ended by kill -9 once it has copied so many of the rows of a table."""
    line = command("migrate", "--from", since, "--to", to)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as moving:
        assert moving.stderr is not None
        said = [moving.stderr.readline()]
        while said[-1] and said[-1].split()[-1] != str(rows):
            said.append(moving.stderr.readline())
        moving.kill()
    assert moving.returncode == -9, said


@pytest.mark.parametrize("rows", [EARLY, pytest.param(LATE, marks=pytest.mark.nightly)])
def test_a_move_killed_on_its_way_leaves_the_source_whole_and_can_be_made_again(
    filled: Path, tmp_path: Path, server: servers.PostgresServer, rows: int
) -> None:
    with sqlite3.connect(filled) as file:
        (one,) = file.execute("SELECT min(id) FROM offering").fetchone()
        count = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
        columns = [name for _, name, *_ in file.execute("PRAGMA table_info(offering)")]
        file.execute(
            f"{count} INSERT INTO offering ({', '.join(columns)}) SELECT id || '-' || n, "
            f"{', '.join(columns[1:])} FROM offering, n WHERE id = ?",
            (MANY, one),
        )
    before, url = whole(DataConfig(path=str(filled))), server.database()
    assert len(before["offering"]) > MANY
    killed(f"sqlite:{filled}", url, rows)
    assert whole(DataConfig(path=str(filled))) == before
    made_again(f"sqlite:{filled}", url)
    assert whole(DataConfig(url=url)) == before
    back = tmp_path / "back.db"
    killed(url, f"sqlite:{back}", rows)
    assert whole(DataConfig(url=url)) == before
    made_again(url, f"sqlite:{back}")
    assert whole(DataConfig(path=str(back))) == before


def made_again(since: str, to: str) -> None:
    """It succeeds; as long as the killed one's session is there, it says what is in the way."""

    def succeeds() -> bool:
        ended = data("migrate", "--from", since, "--to", to)
        assert ended.returncode == 0 or "a data process uses that database" in ended.stderr, ended
        return ended.returncode == 0

    wait_for(succeeds, 60, "the second move succeeds")


def test_jobs_that_are_open_at_the_move_end_after_it(
    tmp_path: Path, server: servers.PostgresServer
) -> None:
    """Only the data process is stopped; all others wait for it."""
    url, file = server.database(), tmp_path / "state" / "csnode.db"
    with Cloud(tmp_path, compute={"options": {"latency_s": 2.0}}) as cloud:
        for roles in SPLIT:
            cloud.start(*roles)
        cloud.wait_ready()
        cs = client(cloud)
        ready = prepared(cs)
        jobs = [cs.deployVirtualMachine(**ready)["jobid"] for _ in range(4)]
        cloud.processes["data"].terminate()
        cloud.processes.pop("data").wait(30)
        with sqlite3.connect(file) as kept:
            (still,) = kept.execute(
                "SELECT count(*) FROM job WHERE json_extract(\"row\", '$.state') NOT IN "
                "('done', 'failed')"
            ).fetchone()
        assert still  # most of them, if the machine is not too busy
        moved(f"sqlite:{file}", url)
        cloud.start("data", settings=(f"data.url={url}",))
        cloud.wait_started("data", times=2)
        cloud.wait_ready()
        wait_for(
            lambda: all(cs.queryAsyncJobResult(jobid=job)["jobstatus"] == 1 for job in jobs),
            60, "every job ends",
        )  # fmt: skip
        machines = cs.listVirtualMachines()["virtualmachine"]
        assert [machine["state"] for machine in machines] == ["Running"] * len(jobs)
        wait_for(lambda: verified(cloud)[0] == 0, 60, "verify finds nothing")
