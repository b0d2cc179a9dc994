"""PostgreSQL's statements: each takes a list for every column (`unnest`), so that many rows are one
step, and statements of one batch can be joined into one round trip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from roles.data.schema import ROW, HistoryStatements, Statements

DIALECT = dialects.dialect()
TURN = "BEGIN; SELECT number FROM head WHERE kind = '' FOR UPDATE"
"""Whoever has this row locked commits; everybody else waits. It holds the feed's last number."""
ERA = """
SELECT current_setting('synchronous_commit'), system_identifier::text,
('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 8, '0'))::bit(32)::bigint
FROM pg_control_system()"""
"""How a commit waits, and what the server's data descends from; a standby refuses to say."""
MAKE_ERA = "CREATE TABLE IF NOT EXISTS era (server text NOT NULL)"
MAKE_LOST = "CREATE TABLE IF NOT EXISTS lost (past bigint NOT NULL, below bigint NOT NULL)"
"""Numbers between the two were given, if at all, in a future that a failover or a restore lost."""
KNOWN_ERA = "SELECT server FROM era"
LOST = "SELECT past, below FROM lost"
IS_LOST = "SELECT 1 FROM lost WHERE past < $1 AND $1 < below LIMIT 1"
AWAY = 1 << 28  # of the 40 bits below an era's: some 4000 failovers, before they begin one by it
BEGIN_ANEW = (
    f"INSERT INTO lost SELECT number, number + {AWAY} FROM head WHERE kind = ''",
    f"UPDATE feed SET number = number + {AWAY}",
    f"UPDATE head SET number = number + {AWAY}",
)
"""After a promotion: whatever number the old primary gave, and no standby had, is below all of
these, and below where the feed begins. So none is given again, and each reader begins anew.
"""
NOTE_ERA = ("DELETE FROM era", "INSERT INTO era (server) SELECT $1")
UNCONFIRMED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'csnode' AND wait_event = 'SyncRep'"""
STANDBYS = """
SELECT count(*) FILTER (WHERE state IS DISTINCT FROM 'backup'),
current_setting('synchronous_standby_names'),
CASE WHEN count(*) = count(state) THEN count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) END
FROM pg_stat_replication"""
END_STALLED = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'csnode' AND pid <> pg_backend_pid()
AND backend_xid IS NOT NULL AND state = 'active' AND wait_event = 'ClientRead'
AND state_change < clock_timestamp() - interval '4 seconds'"""
"""Ends whoever was frozen with a statement prepared and not carried out: that is not idle to the
server, so idle_in_transaction_session_timeout does not count there.
"""
NUMBER_AND_TIME = """
SELECT '' AS id, number AS revision,
CAST(extract(epoch FROM clock_timestamp()) AS text) AS row, CAST(coalesce(
    (SELECT at FROM feed WHERE feed.number = head.number), 0) AS text) AS value
FROM head WHERE kind = ''"""
TIME = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS text)"
HEADS = "SELECT kind, number FROM head"
SINCE = (
    'SELECT number, kind, id, revision, "row" FROM feed WHERE number > $1 ORDER BY number LIMIT $2'
)
MARKS = "(SELECT number FROM head WHERE kind = ''), (SELECT min(number) FROM feed)"
FIRST_TURN = """
INSERT INTO head (kind, number) SELECT '', greatest(
    coalesce((SELECT max(number) FROM feed), 0), coalesce((SELECT max(number) FROM head), 0))
ON CONFLICT (kind) DO UPDATE SET number = greatest(head.number, excluded.number)"""
VALUES_OF_RANGE = """
SELECT id, CAST(0 AS bigint) AS revision, '' AS row, "range" AS value
FROM taken WHERE "range" = ANY($1::text[])"""
ANSWERS = """
SELECT token AS id, CAST(0 AS bigint) AS revision, answer AS row, '' AS value
FROM token WHERE token = ANY($1::text[])"""


class BulkStatements(Statements):
    """What is done to a kind's table. `select` and `select_by` are parts of a fetch: id, revision,
    row, and the value it was asked by.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        columns = {c.name: c for c in table.columns}
        keys = [c for n, c in columns.items() if n not in ROW]
        name, id = _quoted(table.name), columns["id"]
        self.insert = _insert(table)
        self.delete = f"DELETE FROM {name} WHERE id = ANY($1::text[])"
        self.update = _update(name, [columns["revision"], columns["row"]], id)
        self.update_keys = _update(name, [columns["revision"], columns["row"], *keys], id)
        some = f'SELECT id, revision, "row", {{}} AS value FROM {name} WHERE {{}} = ANY($1::{{}}[])'
        self.select = some.format("''", "id", "text")
        self.select_by = {
            key.name: some.format(f"CAST({_quoted(key.name)} AS text)", _quoted(key.name), _of(key))
            for key in keys
        }

    def naming(self, column: str, limit: int) -> str:
        """Return a part of a fetch: of each id asked by, so many rows that have it in a column.

        Without an index every row is looked at; a list contains (@>) each of its values, and a
        value itself.
        """
        has = f"CAST(\"row\" AS jsonb) -> '{column}' @> to_jsonb(asked.id)"
        if column in self.select_by:
            has = f"{_quoted(column)} = asked.id"
        return (
            "SELECT found.id, CAST(0 AS bigint) AS revision, '' AS row, asked.id AS value "
            f"FROM unnest($1::text[]) AS asked(id) CROSS JOIN LATERAL "
            f"(SELECT id FROM {_quoted(self._table.name)} WHERE {has} LIMIT {limit}) AS found"
        )


class BulkHistory(HistoryStatements):
    """What is written besides the rows."""

    def __init__(self, tables: MetaData) -> None:
        feed, head, token = (tables.tables[name] for name in ("feed", "head", "token"))
        self.feed = _insert(feed)
        self.head = f"{_insert(head)} ON CONFLICT (kind) DO UPDATE SET number = excluded.number"
        self.token = _insert(token)
        self.answer = ANSWERS
        self.old_token = "SELECT min(token) FROM token WHERE at < $1"
        self.trim_feed = (
            "DELETE FROM feed WHERE number <= (SELECT max(n) FROM unnest($1::bigint[]) AS u(n))"
        )
        self.trim_tokens = (
            "DELETE FROM token WHERE token IN (SELECT token FROM token "
            "WHERE at < ($1::float8[])[1] LIMIT ($2::bigint[])[1])"
        )


def joined(work: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> tuple[str, list[list[Any]]]:
    """Join statements that touch different rows into one, with its values."""
    values: list[list[Any]] = []
    parts: list[str] = []
    for n, (sql, rows) in enumerate(work):
        parts.append(f"w{n} AS ({shifted(sql, len(values))})")
        values += map(list, zip(*rows, strict=True))
    return f"WITH {', '.join(parts)} SELECT 1", values


def shifted(sql: str, by: int) -> str:
    """Return the statement with its parameters after so many others."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by}", sql)


def _insert(table: Table) -> str:
    names = ", ".join(_quoted(c.name) for c in table.columns)
    return f"INSERT INTO {_quoted(table.name)} ({names}) SELECT * FROM {_lists(table.columns)}"


def _update(table: str, columns: list[Column[Any]], id: Column[Any]) -> str:
    new = ", ".join(f"{_quoted(c.name)} = u.c{n}" for n, c in enumerate(columns))
    names = ", ".join(f"c{n}" for n in range(len(columns) + 1))
    lists = _lists([*columns, id])
    return f"UPDATE {table} SET {new} FROM {lists} AS u({names}) WHERE id = u.c{len(columns)}"


def _lists(columns: Any) -> str:
    return f"unnest({', '.join(f'${n}::{_of(c)}[]' for n, c in enumerate(columns, 1))})"


def _of(column: Column[Any]) -> str:
    return str(column.type.compile(dialect=DIALECT)).split(" COLLATE")[0].replace("FLOAT", "float8")


def _quoted(name: str) -> str:
    return str(DIALECT.identifier_preparer.quote(name))
