"""The tables: one for each kind of row, three for their history, and one that names the cloud.

A kind's table has its id, its revision, its JSON, and a column for each Key. The metadata is read
off the entities; SQLAlchemy makes the statements from it, once, as text; sqlite3 runs the text.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeEngine

from csnode.faults import Broken, Invalid
from csnode.model.entity import Entity

DIALECT = sqlite.dialect()
HISTORY = ("feed", "head", "token", "cloud")
ROW = ("id", "revision", "row")


def metadata(kinds: Mapping[str, type[Entity]]) -> MetaData:
    """Return every table there should be."""
    tables = MetaData()
    for kind in kinds.values():
        _table(kind, tables)
    Table(
        "feed",
        tables,
        Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
        Column("kind", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("at", Float, nullable=False),  # seconds since 1970
        Column("trace", Text, nullable=False),  # of the request behind it
        Column("by", Text, nullable=False),  # who committed: "orchestrator@node"
        Column("row", Text, nullable=False),  # empty: deleted; last, for it may be long
    )
    Table(
        "head",  # the last number of each kind; it outlives the entry, which is trimmed some day
        tables,
        Column("kind", Text, primary_key=True),
        Column("number", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    tokens = Table(
        "token",
        tables,
        Column("token", Text, primary_key=True),
        Column("answer", Text, nullable=False),
        Column("at", Float, nullable=False),
        sqlite_with_rowid=False,
    )
    Index("token_at", tokens.c.at)
    Table(
        "cloud",  # whose database it is (identity.py)
        tables,
        Column("name", Text, primary_key=True),
        Column("value", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    return tables


def _table(kind: type[Entity], tables: MetaData) -> Table:
    keys = kind.keys()
    if kind.kind in HISTORY or not kind.kind.isidentifier() or keys.keys() & set(ROW):
        raise Invalid(f"the kind {kind.kind!r} has a name that the data service uses itself")
    table = Table(
        kind.kind,
        tables,
        Column("id", Text, primary_key=True),
        Column("revision", BigInteger, nullable=False),
        Column("row", Text, nullable=False),
        *(Column(name, _type(kind, name)) for name in keys),
        sqlite_with_rowid=False,
    )
    for name, key in keys.items():
        Index(f"{kind.kind}_{name}", table.c[name], unique=key.unique)
    return table


def _type(kind: type[Entity], column: str) -> TypeEngine[Any]:
    """Return the type by which a Key column is kept."""
    info: Any = msgspec.inspect.type_info(kind)
    declared = next(field.type for field in info.fields if field.name == column)
    for type in getattr(declared, "types", (declared,)):
        if isinstance(type, msgspec.inspect.EnumType):
            return Text() if issubclass(type.cls, str) else BigInteger()
        for known, kept in _KEPT.items():
            if isinstance(type, known):
                return kept()
    raise Invalid(f"{kind.kind}.{column} cannot be a Key: only texts and numbers can")


_KEPT: dict[Any, Callable[[], TypeEngine[Any]]] = {
    msgspec.inspect.StrType: Text,
    msgspec.inspect.IntType: BigInteger,
    msgspec.inspect.BoolType: BigInteger,
    msgspec.inspect.FloatType: Float,
}


def plain(value: Any) -> Any:
    """Return a Key's value as SQL takes it."""
    return value.value if isinstance(value, enum.Enum) else value


def compiled(statement: ClauseElement, order: Sequence[str], dialect: Dialect = DIALECT) -> str:
    """Return the statement's text, whose parameters are in that order."""
    made: Any = statement.compile(dialect=dialect)
    if tuple(made.positiontup) != tuple(order):
        raise Broken(f"{made} takes {made.positiontup}, not {order}")
    return str(made)


class Statements:
    """What is done to a kind's table, as SQLite says it (postgres_sql.py: as PostgreSQL does)."""

    insert: str
    delete: str
    update: str
    update_keys: str
    select: str
    select_by: Mapping[str, str]

    def __init__(self, table: Table) -> None:
        self._table = table
        keys = [c.name for c in table.columns if c.name not in ROW]
        here = table.c.id == bindparam("at")
        row: dict[str, Any] = {n: bindparam(f"new_{n}") for n in ("revision", "row")}
        all_of_it: dict[str, Any] = row | {n: bindparam(f"new_{n}") for n in keys}
        self.insert = compiled(table.insert(), (*ROW, *keys))
        self.delete = compiled(table.delete().where(here), ("at",))
        self.update = compiled(
            table.update().where(here).values(row), ("new_revision", "new_row", "at")
        )
        self.update_keys = compiled(
            table.update().where(here).values(all_of_it), (*(f"new_{n}" for n in all_of_it), "at")
        )
        self.select = compiled(select(table.c.revision, table.c.row).where(here), ("at",))
        self.select_by = {
            name: compiled(select(table.c.id).where(table.c[name] == bindparam("is")), ("is",))
            for name in keys
        }

    def naming(self, column: str, limit: int) -> str:
        """Find the ids of so many rows that have an id in a column, as one text (gathered.py).

        Without an index every row is looked at; json_each takes one value as it takes a list.
        """
        table = self._table
        if column in self.select_by:
            found = f"{self.select_by[column]} LIMIT {limit}"
        else:
            within = f"SELECT 1 FROM json_each(\"row\", '$.{column}') WHERE value = ?"
            name = DIALECT.identifier_preparer.format_table(table)
            found = f"SELECT id FROM {name} WHERE EXISTS ({within}) LIMIT {limit}"
        return f"SELECT group_concat(id, char(30)) FROM ({found})"


class HistoryStatements:
    """What is written besides the rows."""

    feed: str
    head: str
    token: str
    answer: str
    old_token: str
    trim_feed: str
    trim_tokens: str

    def __init__(self, tables: MetaData) -> None:
        feed, head, token = (tables.tables[name] for name in ("feed", "head", "token"))
        heads = sqlite.insert(head)
        heads = heads.on_conflict_do_update(
            index_elements=["kind"], set_={"number": heads.excluded.number}
        )
        self.feed = compiled(feed.insert(), tuple(feed.columns.keys()))
        self.head = compiled(heads, ("kind", "number"))
        self.token = compiled(token.insert(), ("token", "answer", "at"))
        self.answer = compiled(
            select(token.c.answer).where(token.c.token == bindparam("is")), ("is",)
        )
        self.old_token = compiled(
            select(func.min(token.c.token)).where(token.c.at < bindparam("before")), ("before",)
        )
        self.trim_feed = compiled(
            feed.delete().where(feed.c.number <= bindparam("upto")), ("upto",)
        )
        self.trim_tokens = compiled(_old_tokens(token), ("before", "limit"))


def _old_tokens(token: Table) -> Any:
    old = select(token.c.token).where(token.c.at < bindparam("before"))
    some = old.limit(bindparam("limit")).offset(literal_column("0"))
    return token.delete().where(token.c.token.in_(some))
