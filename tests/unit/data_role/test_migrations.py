"""A database is brought up to the schema of the code, and never run by code that is too old."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from csnode.data.rows import encoded
from csnode.faults import Invalid, Refused
from csnode.model.entity import Entity, Key
from csnode.model.owner import Operators, Ownership
from csnode.plugins import entity_kinds
from roles.data import sqlite
from roles.data.kind import Kind
from roles.data.migrate import SCRIPTS, known, migrate, upgrade
from roles.data.schema import metadata
from roles.data.sqlite import Database

OURS = {n: k for n, k in entity_kinds().items() if k.__module__.startswith("csnode.model.")}


class Crate(Entity):
    """A plug-in's kind of row, as its first version had it."""

    kind: ClassVar[str] = "crate"
    owned_by: ClassVar[Ownership] = Operators()

    shelf: Annotated[str, Key()]
    colour: str = "grey"
    weight: int | None = None


class LaterCrate(Entity):
    """The same, after its author wanted to find crates by more."""

    kind: ClassVar[str] = "crate"
    owned_by: ClassVar[Ownership] = Operators()

    shelf: Annotated[str, Key()]
    colour: Annotated[str, Key()] = "grey"
    weight: Annotated[int | None, Key()] = None


@asynccontextmanager
async def opened(path: Path, **plugins: type[Entity]) -> AsyncGenerator[Database]:
    """The database as the role opens it, with those kinds besides ours."""
    kinds = OURS | plugins
    tables = metadata(kinds)
    async with sqlite.opened(str(path), inline=True) as database:
        migrate(database, tables, {n: Kind(k, tables.tables[n]) for n, k in kinds.items()})
        yield database


async def test_the_migrations_make_the_schema_that_the_entities_describe() -> None:
    async with sqlite.opened(":memory:", inline=True) as database:
        database.plain_text(True)
        with database.engine().connect() as connection:
            upgrade(connection)
            differences = compare_metadata(MigrationContext.configure(connection), metadata(OURS))
            assert differences == []


def test_every_migration_is_known_by_its_file() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(s.revision for s in scripts.walk_revisions())[::-1] == known()
    assert scripts.get_current_head() == known()[-1]


async def test_a_database_of_a_newer_csnode_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "d.db") as database:
        await database.transact([("UPDATE alembic_version SET version_num=?", [("9999",)])])
    with pytest.raises(Refused, match=r"d\.db was written by a newer csnode \(schema 9999"):
        async with opened(tmp_path / "d.db"):
            pass


async def test_a_plugins_kind_comes_grows_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    async with opened(path):
        pass
    async with opened(path, crate=Crate) as database:
        rows = [Crate(id="c1", shelf="s", weight=7), Crate(id="c2", shelf="t", colour="red")]
        values = [(row.id, 1, encoded(row).decode(), row.shelf) for row in rows]
        await database.transact(
            [("INSERT INTO crate(id, revision, row, shelf) VALUES(?, ?, ?, ?)", values)]
        )
    async with opened(path, crate=LaterCrate) as database:
        found = database.rows("SELECT id, shelf, colour, weight FROM crate ORDER BY id")
        assert found == [(b"c1", b"s", b"grey", 7), (b"c2", b"t", b"red", None)]
        indexes = database.rows("SELECT name FROM sqlite_master WHERE tbl_name='crate'")
        assert (b"crate_colour",) in indexes
    async with opened(path):
        pass
    async with opened(path, crate=LaterCrate) as database:
        assert database.rows("SELECT count(*) FROM crate WHERE colour='red'") == [(1,)]


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    versions: set[int] = set()
    for _ in range(2):
        async with opened(tmp_path / "d.db") as database:
            versions.add(database.rows("PRAGMA schema_version")[0][0])
    assert len(versions) == 1


def test_a_kind_may_not_be_called_like_our_own_tables() -> None:
    class Feed(Entity):
        """Its name is taken."""

        kind: ClassVar[str] = "feed"
        owned_by: ClassVar[Ownership] = Operators()

    with pytest.raises(Invalid, match="'feed'"):
        metadata({"feed": Feed})


def test_only_texts_and_numbers_can_be_keys() -> None:
    class Bag(Entity):
        """Its key is neither."""

        kind: ClassVar[str] = "bag"
        owned_by: ClassVar[Ownership] = Operators()

        things: Annotated[tuple[str, ...], Key()] = ()

    with pytest.raises(Invalid, match=r"bag\.things"):
        metadata({"bag": Bag})


async def test_a_database_of_the_first_version_keeps_its_rows_and_its_feed(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    network = '{"id":"n","revision":3,"name":"n","router":"host-1"}'
    async with sqlite.opened(str(path), inline=True) as database:
        database.plain_text(True)
        with database.engine().connect() as connection:
            config = Config()
            config.set_main_option("script_location", str(SCRIPTS))
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.commit()
        database.plain_text(False)
        await database.transact(
            [
                ("INSERT INTO network(id, revision, row, account) VALUES(?, ?, ?, ?)",
                 [("n", 3, network, "a")]),
                ("INSERT INTO feed(number, kind, id, revision, row, at) VALUES(?, ?, ?, ?, ?, ?)",
                 [(7, "network", "n", 3, network, 1.5)]),
            ]
        )  # fmt: skip
    async with opened(path) as database:
        assert database.rows("SELECT id, router FROM network") == [(b"n", b"host-1")]
        feed = database.rows('SELECT number, id, revision, at, trace, "by", row FROM feed')
        assert feed == [(7, b"n", 3, 1.5, b"", b"", network.encode())]
        assert database.rows("SELECT count(*) FROM cancel") == [(0,)]
