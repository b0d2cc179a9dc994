"""The schema of a cloud's database goes back and forth, and the cloud's rows stay what they are."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from csnode.data.rows import decoded, encoded
from csnode.faults import Invalid
from csnode.model.entity import Entity, Key
from csnode.model.owner import Operators, Ownership
from csnode.testing.cloud import SimCloud, sim_config
from csnode.testing.loop import simulate
from roles.data import place, postgres, sqlite
from roles.data.config import DataConfig
from roles.data.engine import Asking
from roles.data.identity import MAKE_SHARED
from roles.data.kind import Kind
from roles.data.migrate import go_back, go_back_shared, known, migrate_shared
from roles.data.place import Place, shared_schema
from roles.data.postgres_sql import BulkStatements
from roles.data.schema import metadata
from tests import servers

LATER = {"seat", "invite", "alert", "physical_network", "traffic_type"}  # made by 0003
Rows = Mapping[str, list[bytes]]


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The database of a cloud with a running machine and all that it needs."""

    async def story() -> None:
        async with SimCloud(sim_config(tmp_path, 1)) as cloud:
            offering = await cloud.ask("listServiceOfferings")
            assert offering[0] == 200

    simulate(story())
    return tmp_path / "csnode.db"


async def rows_of(there: Place, without: Set[str] = frozenset()) -> Rows:
    """Every row, of each kind, with its keys' columns; and the feed."""

    def asking() -> Asking[Rows]:
        found: dict[str, list[bytes]] = {}
        join = "string_agg" if there.database.dialect.name == "postgresql" else "group_concat"
        for name, table in there.schema.tables.tables.items():
            if name not in {*without, "head", "token"}:
                columns = [f"coalesce(CAST(\"{c.name}\" AS text), '-')" for c in table.columns]
                text = yield f"SELECT {join}({' || '.join(columns)}, '|') FROM \"{name}\"", ()
                found[name] = sorted(text.split(b"|"))
        return found

    return await there.database.reading(asking())


async def test_sqlite_goes_back_and_forth(filled: Path) -> None:
    config = DataConfig(path=str(filled))
    async with place.opened(config, "") as there:
        before = await rows_of(there, LATER)
        assert len(before["feed"]) > 20
    for revision in known()[-2::-1]:
        async with sqlite.opened(str(filled), inline=True) as database:
            go_back(database, revision)
            assert database.rows("SELECT version_num FROM alembic_version") == [
                (revision.encode(),)
            ]
            with pytest.raises(Invalid, match=rf"the schema is {revision}"):
                go_back(database, known()[-1])
        async with place.opened(config, "") as there:
            lost = LATER | {"cancel", "feed"} if revision < "0002" else LATER
            after = await rows_of(there, lost)
            assert after == {kind: rows for kind, rows in before.items() if kind not in lost}
            assert len((await rows_of(there))["feed"]) == len(before["feed"])
            assert await there.stored.marks() == (len(before["feed"]), 0)


def without_feed(rows: Rows) -> Rows:
    """The two write a date in different ways."""
    return {kind: found for kind, found in rows.items() if kind != "feed"}


async def moved(filled: Path, url: str) -> Rows:
    """The same rows and history on PostgreSQL."""
    async with place.opened(DataConfig(path=str(filled)), "") as old:
        before = await rows_of(old)
        async with place.opened(DataConfig(url=url), "") as new:
            work: list[tuple[str, list[tuple[Any, ...]]]] = []
            assert isinstance(old.database, sqlite.Database)
            assert isinstance(new.database, postgres.Database)
            for name, table in old.schema.tables.tables.items():
                names = [f'"{c.name}"' for c in table.columns]
                found = old.database.rows(f'SELECT {", ".join(names)} FROM "{name}"')
                rows = [tuple(v.decode() if isinstance(v, bytes) else v for v in r) for r in found]
                kinds = new.schema.kinds
                history = {"feed": "feed", "head": "head", "token": "token"}
                if name == "cloud":  # the new database has made its own
                    names_only = [(row[0],) for row in rows]
                    work.append(("DELETE FROM cloud WHERE name = ANY($1::text[])", names_only))
                    work.append((MAKE_SHARED, rows))
                elif name in kinds:
                    work.append((kinds[name].sql.insert, rows))
                else:
                    work.append((getattr(new.schema.statements, history[name]), rows))
            await new.database.take_turn()
            await new.database.write(work)
    return before


async def test_postgresql_goes_back_and_forth(filled: Path, server: servers.PostgresServer) -> None:
    url = server.database()
    before = await moved(filled, url)
    async with place.opened(DataConfig(url=url), "") as there:
        now = await rows_of(there)
        assert without_feed(now) == without_feed(before)  # SQLite's, as PostgreSQL has them
    async with postgres.opened(url, "") as database:
        await go_back_shared(database, "0002")
        with pytest.raises(Invalid, match="the schema is 0002; it can be taken back to: none"):
            await go_back_shared(database, "0001")  # that is SQLite's alone
    async with place.opened(DataConfig(url=url), "") as there:
        after = await rows_of(there, LATER)
        kept = {kind: rows for kind, rows in before.items() if kind not in LATER}
        assert without_feed(after) == without_feed(kept)
        last, floor = await there.stored.marks()
        assert (last, floor) == (len(after["feed"]), 0)


async def test_keys_that_an_older_process_left_empty_are_filled_at_the_next_start(
    filled: Path, server: servers.PostgresServer
) -> None:
    """It goes on adding rows after the migration, and knows none of the new columns."""
    url = server.database()
    before = await moved(filled, url)
    async with postgres.opened(url, "") as database:
        for kind in shared_schema().kinds.values():
            for key in kind.keys:
                name = f'"{kind.name}"'
                await database.ask(f'ALTER TABLE {name} ALTER "{key}" DROP NOT NULL')
                await database.ask(f'UPDATE {name} SET "{key}" = NULL')
    async with place.opened(DataConfig(url=url), "") as there:
        assert without_feed(await rows_of(there)) == without_feed(before)


class Crate(Entity):
    """A plug-in's kind of row, as its first version had it."""

    kind: ClassVar[str] = "crate"
    owned_by: ClassVar[Ownership] = Operators()

    shelf: Annotated[str, Key()]
    weight: int | None = None


class LaterCrate(Entity):
    """The same, after its author wanted to find crates by more."""

    kind: ClassVar[str] = "crate"
    owned_by: ClassVar[Ownership] = Operators()

    shelf: Annotated[str, Key()]
    weight: Annotated[int | None, Key()] = None


async def test_a_plugins_kind_grows_on_postgresql(server: servers.PostgresServer) -> None:
    url = server.database()
    row = Crate(id="c", shelf="s", weight=7)
    for kind in (Crate, LaterCrate):
        types = {n: k.type for n, k in shared_schema().kinds.items()} | {"crate": kind}
        tables = metadata(types)
        kinds = {n: Kind(t, tables.tables[n], BulkStatements) for n, t in types.items()}
        async with postgres.opened(url, "") as database:
            await migrate_shared(database, tables, kinds)
            if kind is Crate:
                await database.take_turn()
                values = ("c", 1, encoded(row).decode(), "s")
                await database.write([(kinds["crate"].sql.insert, [values])])
            else:
                found = await database.ask("SELECT row, weight FROM crate WHERE weight = $1", 7)
                assert [(decoded(Crate, r[0].encode()), r[1]) for r in found] == [(row, 7)]
