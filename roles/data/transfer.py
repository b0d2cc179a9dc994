"""What an operator does to a database that no data process uses: move a cloud's rows to another
one, and take the schema up or down.

A move reads the source under a lock and writes the target in one transaction, which it reads again
before it commits. So whenever it is interrupted, the target is empty or whole, and the source is as
it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from csnode.clock import now
from csnode.faults import Invalid, Refused
from csnode.types import Struct
from roles.data import sqlite
from roles.data.config import DataConfig
from roles.data.migrate import go_back, go_back_shared, known, migrate, migrate_shared
from roles.data.place import Schema, file_schema, shared_schema

AT_ONCE = 2000  # rows
OTHERS = (
    "SELECT coalesce(host(client_addr), 'this machine') FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'csnode' "
    "AND pid <> pg_backend_pid()"
)
Progress = Callable[[str, int], None]
"""Told a table and how many of its rows are there, now and again."""


class Sum(Struct):
    """What a table holds: rows, and a sum over all their columns that no order changes."""

    rows: int = 0
    sum: int = 0


class Moved(Struct):
    """A move that is done and was checked."""

    tables: dict[str, Sum]
    number: int  # of the feed's last entry
    seconds: float

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())


async def move(since: DataConfig, to: DataConfig, state: str, progress: Progress) -> Moved:
    """Copy a whole cloud from SQLite to PostgreSQL or back.

    Raises Invalid if both are the same kind; Refused if a process uses either, the source's schema
    is not this code's, the target has rows, or what arrived differs from what was sent.
    """
    if bool(since.url) == bool(to.url):
        raise Invalid("rows are moved from sqlite to postgresql, or from postgresql to sqlite")
    place = _path(to if since.url else since, state)
    if to.url and not _exists(place):
        raise Refused(f"there is no database at {place}")
    began = now()
    async with sqlite.opened(place, True) as file, _alone(to if to.url else since) as server:
        moved: list[Moved] = []

        def work(shared: Connection) -> None:
            _lock(shared, server.ours)
            with _transaction(file, keep=not to.url) as alone:
                ends = (alone, shared) if to.url else (shared, alone)
                moved.append(_copy(*ends, file_schema(), progress, began))

        if to.url:
            schema = shared_schema()
            await server.unused(empty=True)
            await migrate_shared(server.database, schema.tables, schema.kinds)
        else:
            schema = file_schema()
            _empty_or_refused(file)
            migrate(file, schema.tables, schema.kinds)
        await server.change(work)
        return moved[0]


async def change_schema(config: DataConfig, state: str, to: str) -> str:
    """Take the schema to that revision, or if it is "" to the newest; answers it.

    Raises Invalid if there is no such revision, Refused if a data process uses the database.
    """
    newest = known()[-1]
    if to and to not in known():
        raise Invalid(f"there is no schema {to}; there are: {', '.join(known())}")
    back = to not in ("", newest)
    if config.url:
        async with _alone(config) as server:
            await server.unused(empty=False)
            if back:
                await go_back_shared(server.database, to)
            else:
                schema = shared_schema()
                await migrate_shared(server.database, schema.tables, schema.kinds)
        return to or newest
    place = _path(config, state)
    if not _exists(place):
        raise Refused(f"there is no database at {place}")
    async with sqlite.opened(place, True) as file:
        if back:
            go_back(file, to)
        else:
            schema = file_schema()
            migrate(file, schema.tables, schema.kinds)
    return to or newest


def _exists(path: str) -> bool:
    return Path(path).exists()


def _path(config: DataConfig, state: str) -> str:
    return config.path or str(Path(state) / "csnode.db")


# -- being alone --------------------------------------------------------------------------------


class _Server:
    """PostgreSQL, and which session of it is ours besides the one that works."""

    def __init__(self, database: Any, ours: int) -> None:
        self.database, self.ours = database, ours

    async def unused(self, *, empty: bool) -> None:
        """Raise Refused if a data process uses it, and if it has rows or has none.

        That is before the schema is touched: it may be the cloud of an older csnode, that runs.
        """
        ask = self.database.ask_writer
        _refuse_others([row[0] for row in await ask(OTHERS)])
        made = (await ask("SELECT to_regclass('head') IS NOT NULL"))[0][0]
        if not empty and not made:
            raise Refused("there is no cloud in that database")
        if empty and made and await ask("SELECT 1 FROM head WHERE kind <> '' LIMIT 1"):
            raise Refused("the target has rows already: move to an empty database")

    async def change(self, work: Callable[[Connection], None]) -> None:
        """Do as `change_schema` of the database, with Refused for what it raises of its own."""
        try:
            await self.database.change_schema(work)
        except (SQLAlchemyError, OSError) as error:
            why = getattr(error, "orig", error)
            raise Refused(f"{self.database.path}: {why}") from error


@asynccontextmanager
async def _alone(config: DataConfig) -> AsyncGenerator[_Server]:
    from roles.data import postgres

    async with postgres.opened(config.url, config.password_file) as database:
        ours = await database.ask_writer("SELECT pg_backend_pid()")
        yield _Server(database, ours[0][0])


def _lock(shared: Connection, ours: int) -> None:
    """Raise Refused if there is a data process; one that starts now cannot commit before we end."""
    if not inspect(shared).has_table("head"):
        raise Refused("there is no cloud in that database")
    shared.execute(text("LOCK TABLE head IN EXCLUSIVE MODE"))
    _refuse_others([row[0] for row in shared.execute(text(f"{OTHERS} AND pid <> {ours}"))])


def _refuse_others(found: Sequence[str]) -> None:
    if found:
        at = ", ".join(sorted(set(found)))
        raise Refused(f"a data process uses that database (from {at}); stop every one first")


def _empty_or_refused(file: sqlite.Database) -> None:
    """Raise Refused if somebody's cloud is in a file of SQLite's: it keeps that, and its schema."""
    tables = [n.decode() for (n,) in file.rows("SELECT name FROM sqlite_master WHERE type='table'")]
    for name in tables:
        if name != "alembic_version" and file.rows(f'SELECT 1 FROM "{name}" LIMIT 1'):
            raise Refused(f"{file.path} has rows already (in {name}): move to an empty one")


@contextmanager
def _transaction(file: sqlite.Database, *, keep: bool) -> Generator[Connection]:
    """Run a transaction over SQLite; what was done is kept, or rolled back."""
    file.plain_text(True)
    try:
        with file.engine().connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            if keep:
                connection.commit()
            else:
                connection.rollback()
    finally:
        file.plain_text(False)


# -- the rows -----------------------------------------------------------------------------------


def _copy(
    since: Connection, to: Connection, schema: Schema, progress: Progress, began: float
) -> Moved:
    tables = schema.tables.tables
    _same_schema(since, tables)
    for name, table in tables.items():
        if _rows(to, table):
            raise Refused(f"the target has rows already (in {name}): move to an empty database")
    sent: dict[str, Sum] = {}
    for name, table in tables.items():
        sent[name] = _copy_table(since, to, table, progress)
    for name, table in tables.items():
        if (there := _sum(to, table)) != sent[name]:
            raise Refused(
                f"{name} arrived otherwise than it was sent ({there.rows} rows of "
                f"{sent[name].rows}): nothing was kept"
            )
    feed, head = tables["feed"], tables["head"]
    last = to.scalar(select(func.max(feed.c.number))) or 0
    heads = to.scalar(select(func.max(head.c.number))) or 0
    return Moved(tables=sent, number=max(last, heads), seconds=now() - began)


def _same_schema(since: Connection, tables: Mapping[str, Table]) -> None:
    has = None
    if inspect(since).has_table("alembic_version"):
        has = since.scalar(text("SELECT version_num FROM alembic_version"))
    if has != known()[-1]:
        raise Refused(
            f"the source's schema is {has or 'none'}, this csnode's is {known()[-1]}: "
            "`csnode data schema` brings it there"
        )
    there = {
        n: {c["name"] for c in cs} for (_, n), cs in inspect(since).get_multi_columns().items()
    }
    for name in there.keys() - tables.keys() - {"alembic_version", "era", "lost"}:
        if since.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first():
            raise Refused(f"the source has rows of {name}, which no installed package knows")
    for name, table in tables.items():
        if missing := {c.name for c in table.columns} - there.get(name, set()):
            raise Refused(f"the source's {name} lacks {min(missing)}: `csnode data schema` adds it")


def _rows(connection: Connection, table: Table) -> bool:
    some = select(table.c[table.columns.keys()[0]]).limit(1)
    if table.name == "head":
        some = some.where(table.c.kind != "")
    return connection.execute(some).first() is not None


def _copy_table(since: Connection, to: Connection, table: Table, progress: Progress) -> Sum:
    names = table.columns.keys()
    rows, total = 0, 0
    for part in _parts(since, table):
        to.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in part])
        rows += len(part)
        total = (total + sum(map(_digest, part))) % 2**128
        progress(table.name, rows)
    return Sum(rows=rows, sum=total)


def _sum(connection: Connection, table: Table) -> Sum:
    rows, total = 0, 0
    for part in _parts(connection, table):
        rows += len(part)
        total = (total + sum(map(_digest, part))) % 2**128
    return Sum(rows=rows, sum=total)


def _digest(row: tuple[Any, ...]) -> int:
    made = hashlib.blake2b(repr(row).encode(errors="surrogatepass"), digest_size=16)
    return int.from_bytes(made.digest())


def _parts(connection: Connection, table: Table) -> Generator[list[tuple[Any, ...]]]:
    """Yield all rows by their first column, some at a time; not PostgreSQL's row for the turn."""
    first = table.c[table.columns.keys()[0]]
    base = select(table).order_by(first).limit(AT_ONCE)
    if table.name == "head":
        base = base.where(first != "")
    query = base
    while part := [tuple(row) for row in connection.execute(query).all()]:
        yield part
        query = base.where(first > part[-1][0])
