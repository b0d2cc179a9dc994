"""Reads: one row, rows by their keys, and the feed. Answers are JSON as it is stored."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Dialect, MetaData, bindparam, or_, select

from csnode.bus.event import Entry
from csnode.contracts.data import Feed
from csnode.contracts.data import Row as Found
from csnode.contracts.refusal import absent
from csnode.faults import Gone, Invalid
from roles.data.engine import Engine
from roles.data.gathered import COLUMN, ROW, gathered
from roles.data.kind import Kind
from roles.data.schema import compiled, plain
from roles.data.stored import Stored

ANY_MAX = 10_000
PAGE_MAX = 2**31 - 1


class Reader:
    """Sees every commit that was acknowledged before it was asked."""

    def __init__(self, database: Engine, stored: Stored, tables: MetaData) -> None:
        self._database, self._stored, self._tables = database, stored, tables

    async def get(self, name: str, id: str) -> Found:
        """Return one row."""
        kind = self._stored.kind(name)
        row = self._stored.at_hand(kind, id)
        if row is None:
            found = await self.find(name, {"id": id}, "", 1)
            if found:
                return found[0]
        elif row.text:
            return Found(id=id, row=row.text)
        raise absent(name, id)

    async def find(
        self, name: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Found, ...]:
        """Find rows with those values, by rising id."""
        kind = self._stored.kind(name)
        if limit < 1:
            raise Invalid(f"a page of {limit} rows cannot be read")
        shape: list[tuple[str, int, bool]] = []
        values: list[Any] = [after]
        for column, value in where.items():
            wanted, null = _wanted(kind, column, value)
            wanted = _fitting(self._tables.tables[name].c[column], wanted)
            if not wanted and not null:
                return ()
            shape.append((column, len(wanted), null))
            values.extend(wanted)
        sql = _find_sql(self._tables, self._database.dialect, name, tuple(shape))
        text = await self._database.text(sql, (*values, min(limit, PAGE_MAX)))
        if not text:
            return ()
        pairs = (row.partition(COLUMN) for row in text.split(ROW))
        return tuple(Found(id=id.decode(), row=row) for id, _, row in pairs)

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        """Read entries past that number. Raises Gone if some of these kinds were trimmed."""
        names = tuple(sorted({self._stored.kind(name).name for name in kinds}))
        if limit < 1:
            raise Invalid(f"a page of {limit} entries cannot be read")
        sql = _feed_sql(self._tables, self._database.dialect, len(names)) if names else ""
        asked = (after, *names, min(limit, PAGE_MAX)) if names else ()
        last, floor, text = await self._stored.page(sql, asked)
        if after < floor and (not names or await self._newest(names) > after):
            raise Gone(f"the feed begins past {floor}; read the rows again")
        entries: list[tuple[str, Entry]] = []
        for row in text.split(ROW) if text else ():
            number, kind, id, revision, json = row.split(COLUMN, 4)
            entry = Entry(number=int(number), id=id.decode(), revision=int(revision), row=json)
            entries.append((kind.decode(), entry))
        end = entries[-1][1].number if entries else 0
        upto = end if len(entries) == limit else max(last, end)
        return Feed(entries=tuple(entries), upto=upto)

    async def _newest(self, names: tuple[str, ...]) -> int:
        """Return the last number of these kinds; it outlives its entry."""
        heads = await self._stored.known_heads()
        return max(heads.get(name, 0) for name in names)


@lru_cache(1024)  # for all readers of this process: making one takes as long as a commit
def _find_sql(
    tables: MetaData, dialect: Dialect, name: str, shape: tuple[tuple[str, int, bool], ...]
) -> str:
    table = tables.tables[name]
    query = select(table.c.id, table.c.row).where(table.c.id > bindparam("after"))
    names = ["after"]
    for column, count, null in shape:
        binds = [f"{column}_{n}" for n in range(count)]
        names += binds
        column_of = table.c[column]
        tests = [column_of.in_([bindparam(b) for b in binds])] if count > 1 else []
        tests = tests or [column_of == bindparam(b) for b in binds]
        query = query.where(or_(*tests, *([column_of.is_(None)] if null else [])))
    return compiled(gathered(query.order_by(table.c.id)), (*names, "limit"), dialect)


@lru_cache(64)
def _feed_sql(tables: MetaData, dialect: Dialect, count: int) -> str:
    feed = tables.tables["feed"]
    binds = [f"kind_{n}" for n in range(count)]
    query = (
        select(feed.c.number, feed.c.kind, feed.c.id, feed.c.revision, feed.c.row)
        .where(feed.c.number > bindparam("after"))
        .where(feed.c.kind.in_([bindparam(b) for b in binds]))
    )
    return compiled(gathered(query.order_by(feed.c.number)), ("after", *binds, "limit"), dialect)


def _fitting(column: Column[Any], values: list[Any]) -> list[Any]:
    """Return values of the column's own type, for those that are of another."""
    kept: type = column.type.python_type
    if all(type(value) is kept for value in values):
        return values
    fitting: list[Any] = []
    for value in values:
        with suppress(ValueError):
            fitting.append(kept(value))
    return fitting


def _wanted(kind: Kind, column: str, value: Any) -> tuple[list[Any], bool]:
    """Return the values asked for, and whether none at all is one of them."""
    if column not in kind.keys and column != "id":
        known = ", ".join(kind.keys) or "none"
        raise Invalid(f"{kind.name} rows cannot be found by {column!r}; Keys are: {known}")
    many = isinstance(value, tuple | list | set | frozenset)
    values = [plain(v) for v in (value if many else (value,))]  # type: ignore[reportUnknownVariableType]
    if len(values) > ANY_MAX:
        raise Invalid(f"{kind.name}.{column}: more than {ANY_MAX} values")
    for one in values:
        if not isinstance(one, str | int | float | None):
            raise Invalid(f"{kind.name}.{column} cannot be {type(one).__name__}")
    return [v for v in values if v is not None], None in values
