"""What the books are read with. The two dialects differ in a function's name here and there."""

from __future__ import annotations

from sqlalchemy import Dialect

_HEADS = "SELECT {join}(kind || {c31} || number, {c30}) FROM head WHERE kind <> ''"
_HOLES = """
SELECT {join}((number + 1) || {c31} || (next - 1), {c30}) FROM (
    SELECT number, (SELECT min(number) FROM feed WHERE number > f.number) AS next FROM feed AS f
    WHERE number < {first} AND NOT EXISTS (SELECT 1 FROM feed WHERE number = f.number + 1)
) AS hole"""
_COUNT = "SELECT count(*) || '' FROM {table}"
_UNHEARD = """
SELECT {join}(id, {c30}) FROM (
    SELECT id FROM {table} WHERE id NOT IN (SELECT id FROM feed WHERE kind = {first}) LIMIT 1000
) AS unheard"""
_SUMMARY = """
WITH newest AS (
    SELECT kind, id, max(number) AS high, min(number) AS low, count(*) AS entries
    FROM feed GROUP BY id, kind
), judged AS (
    SELECT l.kind, l.high, l.low, l.entries, CASE f.row WHEN '' THEN 0 ELSE 1 END AS alive,
        CASE WHEN coalesce({whole}, '') <> {said}
        THEN {odd} || {c29} || coalesce({revision}, '') END AS odd
    FROM newest AS l JOIN feed AS f ON f.number = l.high
), kept AS (
    SELECT kind || {c31} || sum(entries) || {c31} || min(low) || {c31} || max(high)
        || {c31} || sum(alive) || {c31} || coalesce({join}(odd, {c28}), '') AS text
    FROM judged GROUP BY kind
)
SELECT {join}(text, {c30}) FROM kept"""


class BooksSql:
    """For one database, and the kinds that this service knows."""

    def __init__(self, kinds: tuple[str, ...], dialect: Dialect) -> None:
        self._quoted = dialect.identifier_preparer.quote
        postgres = dialect.name == "postgresql"
        self._words = {"join": "string_agg", "first": "$1"} if postgres else {}
        self._words = {"join": "group_concat", "first": "?"} | self._words
        function = "chr" if postgres else "char"
        self._words |= {f"c{n}": f"{function}({n})" for n in (28, 29, 30, 31)}
        self.heads = _HEADS.format(**self._words)
        self.holes = _HOLES.format(**self._words)
        self.summary = self._summary(kinds)

    def count(self, kind: str) -> str:
        """Count the rows."""
        return _COUNT.format(table=self._quoted(kind))

    def unheard(self, kind: str) -> str:
        """Find ids of rows that have no entry; takes the kind's name."""
        return _UNHEARD.format(table=self._quoted(kind), **self._words)

    def _summary(self, kinds: tuple[str, ...]) -> str:
        """Sum the feed up in one pass: what it holds of each kind, and rows that differ from it.

        A kind that this service does not know (its plug-in went) is believed.
        """
        c29, c31 = self._words["c29"], self._words["c31"]
        said = f"f.revision || {c31} || f.row"
        said = f"CASE f.row WHEN '' THEN '' ELSE {said} END"
        revision = "CASE f.row WHEN '' THEN '' ELSE f.revision || '' END"
        return _SUMMARY.format(
            whole=self._by_kind(kinds, f'revision || {c31} || "row"', said),
            said=said,
            odd=f"l.id || {c29} || l.high || {c29} || {revision}",
            revision=self._by_kind(kinds, "revision || ''", "f.revision || ''"),
            **self._words,
        )

    def _by_kind(self, kinds: tuple[str, ...], what: str, otherwise: str) -> str:
        """Return an expression over the row that an entry is of, in whatever table it is."""
        whens = (
            f"WHEN '{kind}' THEN (SELECT {what} FROM {self._quoted(kind)} WHERE id = l.id)"
            for kind in kinds
        )
        return f"CASE l.kind {' '.join(whens)} ELSE {otherwise} END"
