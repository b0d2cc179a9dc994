"""History: the entries of one row or one trace, with who committed them and when."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, MetaData, Table, bindparam, select

from csnode.bus.event import Entry
from csnode.contracts.data import Past
from csnode.faults import Invalid
from roles.data.engine import Engine
from roles.data.gathered import COLUMN, ROW, gathered
from roles.data.schema import compiled

BYTES_MAX = 8 * 1024 * 1024  # of rows in one answer; the bus carries 16 MiB
COLUMNS = ("number", "kind", "id", "revision", "at", "trace", "by", "row")


class History:
    """Reads the feed from its end. There is no index for it: commits would pay for each (200,000
    entries are gone through in some 60 ms, and people ask seldom).
    """

    def __init__(self, database: Engine, tables: MetaData) -> None:
        self._database, self._feed = database, tables.tables["feed"]

    async def read(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        """Read the last entries, oldest first; fewer than `limit` if their rows are very long."""
        if bool(id) == bool(trace):
            raise Invalid("history is asked for by an id or by a trace: one of them")
        if limit < 1:
            raise Invalid(f"a history of {limit} entries cannot be read")
        sql = _sql_by(self._feed, self._database.dialect, "id" if id else "trace")
        text = await self._database.text(sql, (id or trace, limit))
        found: list[Past] = []
        size = 0
        for row in text.split(ROW) if text else ():  # newest first
            size += len(row)
            if found and size > BYTES_MAX:
                break
            found.append(_past(row))
        return tuple(reversed(found))

    async def since(self, after: int, limit: int) -> tuple[Past, ...]:
        """Read entries past that number, of all kinds, oldest first; from where the feed begins."""
        sql = _sql_since(self._feed, self._database.dialect)
        text = await self._database.text(sql, (after, limit))
        return tuple(_past(row) for row in text.split(ROW)) if text else ()


@lru_cache(8)  # for all of this process, as the reader's
def _sql_since(feed: Table, dialect: Dialect) -> str:
    query: Any = select(*(feed.c[name] for name in COLUMNS))
    query = query.where(feed.c.number > bindparam("after")).order_by(feed.c.number)
    return compiled(gathered(query), ("after", "limit"), dialect)


@lru_cache(8)
def _sql_by(feed: Table, dialect: Dialect, column: str) -> str:
    query: Any = select(*(feed.c[name] for name in COLUMNS))
    query = query.where(feed.c[column] == bindparam("is")).order_by(feed.c.number.desc())
    return compiled(gathered(query), ("is", "limit"), dialect)


def _past(row: bytes) -> Past:
    number, kind, id, revision, at, trace, by, json = row.split(COLUMN, 7)
    return Past(
        kind=kind.decode(),
        entry=Entry(number=int(number), id=id.decode(), revision=int(revision), row=json),
        at=float(at),
        trace=trace.decode(),
        by=by.decode(),
    )
