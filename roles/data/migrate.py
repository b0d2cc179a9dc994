"""Brings a database up to the schema this code knows.

Our own kinds change by Alembic migrations (migrations/versions). Kinds of plug-ins come without
any: after the migrations, tables they lack are made, and Key columns they lack are added and
filled from the rows. Only ever added to, so a plug-in may go and come back without loss.

All of it is one transaction. Alembic is imported only if there is a migration to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, Table, bindparam, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from csnode.faults import Refused
from csnode.log import logger
from roles.data.kind import Kind
from roles.data.schema import DIALECT, HISTORY
from roles.data.sqlite import Database

SCRIPTS = Path(__file__).parent / "migrations"
log = logger("data")


def known() -> tuple[str, ...]:
    """Every revision there is a migration to, oldest first: the numbers their files begin with."""
    return tuple(sorted(f.name[:4] for f in (SCRIPTS / "versions").glob("[0-9]*_*.py")))


def migrate(database: Database, tables: MetaData, kinds: Mapping[str, Kind]) -> None:
    """Raises Refused if the database is newer than this code, or cannot be changed."""
    database.plain_text(True)
    try:
        with database.engine().connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                _run_migrations(connection, database.path)
                _add_what_plugins_lack(connection, tables, kinds)
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
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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
    quoted = DIALECT.identifier_preparer.format_table(table)
    for name in missing:
        column = CreateColumn(table.c[name]).compile(dialect=DIALECT)
        connection.execute(text(f"ALTER TABLE {quoted} ADD COLUMN {column}"))
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in missing}
    fill = table.update().where(table.c.id == bindparam("at")).values(values)
    for id, row in connection.execute(select(table.c.id, table.c.row)).all():
        keys = dict(zip(kind.keys, kind.key_values(kind.parse(id, row)), strict=True))
        connection.execute(fill, {"at": id} | {f"new_{name}": keys[name] for name in missing})
    for index in table.indexes:
        if index.columns.keys()[0] in missing:
            index.create(connection)
