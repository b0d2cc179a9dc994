"""Where the rows are kept: a file of SQLite's that is ours alone, or PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import MetaData

from csnode.faults import Fault
from csnode.plugins import entity_kinds
from roles.data import sqlite
from roles.data.alone import Alone
from roles.data.config import DataConfig
from roles.data.engine import Engine
from roles.data.identity import Identity, of_file, of_server
from roles.data.kind import Kind
from roles.data.migrate import migrate, migrate_shared
from roles.data.schema import HistoryStatements, metadata
from roles.data.stored import Stored


class Schema(NamedTuple):
    """Tables, kinds and statements of what is installed."""

    tables: MetaData
    kinds: dict[str, Kind]
    statements: HistoryStatements


class Place(NamedTuple):
    """A database that is up to date."""

    database: Engine
    stored: Stored
    schema: Schema
    identity: Identity


@asynccontextmanager
async def opened(config: DataConfig, state: str) -> AsyncGenerator[Place]:
    """Open the place. Raises Invalid or Refused, in one line that says why."""
    if config.url:
        from roles.data import postgres
        from roles.data.shared import Shared

        schema = shared_schema()
        async with postgres.opened(config.url, config.password_file) as database:
            await migrate_shared(database, schema.tables, schema.kinds)
            stored = Shared(database, schema.kinds, schema.statements)
            yield Place(database, stored, schema, await of_server(database))
        return
    schema = file_schema()
    path = config.path or str(Path(state) / "csnode.db")
    async with sqlite.opened(path, config.inline) as database:
        migrate(database, schema.tables, schema.kinds)
        stored = Alone(database, schema.kinds, schema.statements)
        yield Place(database, stored, schema, await of_file(database))


async def examined(config: DataConfig) -> list[dict[str, str]]:
    """Look at a PostgreSQL that [data] names: whether it answers, and what its standbys lack."""
    if not config.url:
        return []
    try:
        from roles.data import postgres
    except ImportError as error:
        remedy = "pip install 'csnode[postgresql]'"
        return [{"lack": f"PostgreSQL cannot be used: {error}", "remedy": remedy}]
    from roles.data.postgres_hosts import SYNCHRONOUS

    try:
        async with postgres.opened(config.url, config.password_file, within_s=0.0) as database:
            warn = await database.standbys()
            return [
                {"warn": warn, "remedy": SYNCHRONOUS}
                if warn
                else {"good": f"{database.path} answers"}
            ]
    except Fault as fault:  # it may start later than the node
        remedy = "see [data] url and password_file, and whether it runs"
        return [{"warn": fault.message, "remedy": remedy}]


@cache
def file_schema() -> Schema:
    """Make the schema for SQLite; it is the same for every start in a process."""
    types = entity_kinds()
    tables = metadata(types)
    kinds = {name: Kind(type, tables.tables[name]) for name, type in types.items()}
    return Schema(tables, kinds, HistoryStatements(tables))


@cache
def shared_schema() -> Schema:
    """Make the schema for PostgreSQL."""
    from roles.data.postgres_sql import BulkHistory, BulkStatements

    types = entity_kinds()
    tables = metadata(types)
    kinds = {n: Kind(type, tables.tables[n], BulkStatements) for n, type in types.items()}
    return Schema(tables, kinds, BulkHistory(tables))
