"""The data role: every object in the cloud, and the numbered feed of their changes.

Serves Data. Writes taken, tally and lease rows. Owns the database: one process to a file.
Publishes Changed after every batch of commits, and Heads every second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from csnode.bus.event import Heads
from csnode.clock import wall
from csnode.contracts.data import Commit, Committed, Data, Feed, Past, Row
from csnode.faults import Fault
from csnode.log import logger
from csnode.plugins import entity_kinds
from csnode.role import Opened, Role, every
from roles.data import sqlite
from roles.data.books import Checker
from roles.data.config import DataConfig
from roles.data.history import History
from roles.data.kind import Kind
from roles.data.layer import Stored
from roles.data.migrate import migrate
from roles.data.reader import Reader
from roles.data.schema import HistoryStatements, metadata
from roles.data.writer import Writer

TOKEN_KEPT_S = 86400.0
log = logger("data")


class DataRole(Role[DataConfig], Data):
    """One in a cloud, as long as the database is SQLite."""

    name = "data"
    needs_data = False  # it is what the others wait for

    async def opened(self) -> Opened:
        path = self.config.path or str(Path(self.node.state) / "csnode.db")
        tables, kinds, statements = _schema()
        async with sqlite.opened(path, self.config.inline) as database:
            migrate(database, tables, kinds)
            self.stored = Stored(database, kinds)
            self.reader = Reader(database, self.stored, tables)
            self.writer = Writer(
                database,
                self.stored,
                statements,
                self.bus.publish,
                self.config.batch_max,
            )
            self.past = History(database, tables)
            self.checker = Checker(database, self.stored, self.writer, kinds)
            self.bus.serve(self)
            try:
                yield
            finally:
                self.bus.retire(self)
                await self.writer.idle()

    async def drain(self) -> None:
        await self.writer.idle()

    def troubles(self) -> Sequence[str]:
        return (self.writer.trouble,) if self.writer.trouble else ()

    async def commit(self, commit: Commit) -> Committed:
        return await self.writer.put(commit)

    async def get(self, kind: str, id: str) -> Row:
        return await self.reader.get(kind, id)

    async def find(
        self, kind: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        return await self.reader.find(kind, where, after, limit)

    async def head(self, kinds: tuple[str, ...]) -> int:
        return self.stored.head(kinds)

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self.stored.head((kind,)) for kind in kinds)

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        return await self.reader.feed(after, kinds, limit)

    async def history(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        return await self.past.read(id, trace, limit)

    async def check(self) -> tuple[str, ...]:
        return await self.checker.findings()

    @every(seconds=1.0)
    async def show_heads(self) -> None:
        """A reader whose own numbers are lower has missed the last events."""
        if self.stored.heads:
            self.bus.publish(Heads(numbers=dict(self.stored.heads)))

    @every(seconds=60.0)
    async def forget(self) -> None:
        """Feed and tokens need not reach back for ever."""
        try:
            await self.writer.trim(self.config.feed_keep, wall() - TOKEN_KEPT_S)
        except Fault as fault:  # `troubles` says so until a batch succeeds
            log.info("cannot trim now", why=fault.message)


@cache
def _schema() -> tuple[MetaData, dict[str, Kind], HistoryStatements]:
    """Tables, kinds and statements of what is installed; the same for every start in a process."""
    types = entity_kinds()
    tables = metadata(types)
    kinds = {name: Kind(type, tables.tables[name]) for name, type in types.items()}
    return tables, kinds, HistoryStatements(tables)
