"""Brings a database up to the schema this code knows, or back to an earlier one.

Our own kinds change by Alembic migrations (migrations/versions). Kinds of plug-ins come without
any: after the migrations, tables they lack are made, and Key columns they lack are added and
filled from the rows. Only ever added to, so a plug-in may go and come back without loss.

All of it is one transaction. Alembic is imported only if there is a migration to run. An empty
PostgreSQL gets its tables from the entities and is at the newest revision at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    MetaData,
    Table,
    Update,
    bindparam,
    case,
    cast,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from csnode.faults import Invalid, Refused
from csnode.log import logger
from roles.data.kind import Kind
from roles.data.schema import HISTORY
from roles.data.sqlite import Database

if TYPE_CHECKING:
    from roles.data.postgres import Database as Postgres

SCRIPTS = Path(__file__).parent / "migrations"
SHARED_SINCE = "0002"  # what PostgreSQL can go back to: earlier migrations are SQLite's alone
log = logger("data")


def known() -> tuple[str, ...]:
    """Return every revision to migrate to, oldest first: the numbers their files begin with."""
    return tuple(sorted(f.name[:4] for f in (SCRIPTS / "versions").glob("[0-9]*_*.py")))


def migrate(database: Database, tables: MetaData, kinds: Mapping[str, Kind]) -> None:
    """Migrate SQLite's database. Refused if it is newer than this code, or cannot be changed."""

    def work(connection: Connection) -> None:
        _run_migrations(connection, database.path)
        _add_what_plugins_lack(connection, tables, kinds)

    _in_one_transaction(database, work)


async def migrate_shared(database: Postgres, tables: MetaData, kinds: Mapping[str, Kind]) -> None:
    """Migrate PostgreSQL's database; of several processes that start at once, one does it."""

    def work(connection: Connection) -> None:
        if inspect(connection).has_table("alembic_version"):
            _run_migrations(connection, database.path)
            _add_what_plugins_lack(connection, tables, kinds)
            _fill_keys(connection, tables, kinds)
        else:
            tables.create_all(connection)
            _alembic(connection, "stamp", "head")
            log.info("made the tables", to=known()[-1])

    try:
        await database.change_schema(work)
    except (SQLAlchemyError, OSError) as error:
        why = getattr(error, "orig", error)
        raise Refused(f"{database.path} cannot be brought up to date: {why}") from error


def go_back(database: Database, to: str) -> None:
    """Take SQLite's schema back to that revision. What only later ones can hold is lost.

    Raises Invalid if there is no such revision, or the database is not past it.
    """
    _in_one_transaction(database, lambda connection: _go_back(connection, to, known()))


async def go_back_shared(database: Postgres, to: str) -> None:
    """Take PostgreSQL's schema back; no data process may be running."""
    kept = tuple(r for r in known() if r >= SHARED_SINCE)
    try:
        await database.change_schema(lambda connection: _go_back(connection, to, kept))
    except (SQLAlchemyError, OSError) as error:
        raise Refused(f"{database.path} cannot be taken back: {error}") from error


def _go_back(connection: Connection, to: str, revisions: tuple[str, ...]) -> None:
    has = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if to not in revisions or has not in revisions or to >= has:
        names = ", ".join(r for r in revisions if has and r < has) or "none"
        raise Invalid(f"the schema is {has}; it can be taken back to: {names}")
    _alembic(connection, "downgrade", to)
    log.info("took the schema back", since=has, to=to)


def _in_one_transaction(database: Database, work: Callable[[Connection], None]) -> None:
    database.plain_text(True)
    try:
        with database.engine().connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                work(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
    except SQLAlchemyError as error:
        why = getattr(error, "orig", error)
        raise Refused(f"{database.path} cannot be brought up to date: {why}") from error
    finally:
        database.plain_text(False)


def _run_migrations(connection: Connection, path: str) -> None:
    revisions = known()
    has = None
    if inspect(connection).has_table("alembic_version"):
        has = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if has is not None and has not in revisions:
        raise Refused(
            f"{path} was written by a newer csnode (schema {has}; this one knows up to "
            f"{revisions[-1]}): install that version again"
        )
    if has != revisions[-1]:
        upgrade(connection)
        log.info("migrated the database", since=has, to=revisions[-1])


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks, within the transaction that is open."""
    _alembic(connection, "upgrade", "head")


def _alembic(connection: Connection, verb: str, to: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    getattr(command, verb)(config, to)


def _add_what_plugins_lack(
    connection: Connection, tables: MetaData, kinds: Mapping[str, Kind]
) -> None:
    columns = inspect(connection).get_multi_columns()
    there = {name: {c["name"] for c in found} for (_, name), found in columns.items()}
    for table in tables.sorted_tables:
        if table.name not in there:
            table.create(connection)
            log.info("made a table", kind=table.name)
        elif table.name not in HISTORY:
            missing = [c.name for c in table.columns if c.name not in there[table.name]]
            if missing:
                _add_keys(connection, table, kinds[table.name], missing)
                log.info("added keys", kind=table.name, keys=missing)


def _add_keys(connection: Connection, table: Table, kind: Kind, missing: list[str]) -> None:
    dialect = connection.dialect
    quoted = dialect.identifier_preparer.format_table(table)
    for name in missing:
        column = CreateColumn(table.c[name]).compile(dialect=dialect)
        connection.execute(text(f"ALTER TABLE {quoted} ADD COLUMN {column}"))
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in missing}
    fill = table.update().where(table.c.id == bindparam("at")).values(values)
    for id, row in connection.execute(select(table.c.id, table.c.row)).all():
        keys = dict(zip(kind.keys, kind.key_values(kind.parse(id, row)), strict=True))
        connection.execute(fill, {"at": id} | {f"new_{name}": keys[name] for name in missing})
    for index in table.indexes:
        if index.columns.keys()[0] in missing:
            index.create(connection)


def _fill_keys(connection: Connection, tables: MetaData, kinds: Mapping[str, Kind]) -> None:
    """Fill Keys that rows have and their columns lack.

    While processes are replaced one by one, those of the version before go on adding rows, and
    know no column that a migration has added. Whoever starts last fills the rest.
    """
    for kind in kinds.values():
        table = tables.tables[kind.name]
        for name in kind.keys:
            filled = connection.execute(_filling(table, kind, name)).rowcount
            if filled:
                log.info("filled a key", kind=kind.name, key=name, rows=filled)


def _filling(table: Table, kind: Kind, name: str) -> Update:
    """Return what fills a Key's column from the rows.

    A value that another row has already, where only one may, stays away: it is not ours.
    """
    column, row = table.c[name], table.c.row
    value: Any = func.jsonb_extract_path_text(cast(row, JSONB), name)
    lacking = column.is_(None)
    default = bytes(kind.defaults.get(name, b"null"))  # a row leaves it out
    if default == b"null":
        lacking &= row.contains(f'"{name}":', autoescape=True)  # many have none; to parse is slow
    else:
        value = func.coalesce(value, str(msgspec.json.decode(default)))
    if isinstance(column.type, BigInteger):
        low = func.lower(value)
        value = case((low == "true", "1"), (low == "false", "0"), else_=value)
    known, others = cast(value, column.type), table.alias()
    wanted = table.update().values({name: known}).where(lacking, value.is_not(None))
    taken = select(others.c.id).where(others.c[name] == known).exists()
    return wanted.where(~taken) if name in kind.unique else wanted
