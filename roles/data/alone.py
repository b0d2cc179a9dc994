"""The committed rows of a process that is alone with its database: SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from csnode.clock import own_wall
from csnode.contracts.data import Commit
from csnode.model.ids import taken_parts
from roles.data.gathered import ROW
from roles.data.kind import Kind, Pin
from roles.data.layer import Holdings, Row
from roles.data.needs import NeedReferrers
from roles.data.schema import HistoryStatements
from roles.data.sqlite import Database
from roles.data.stored import NumberedWork, Stored, Unread, lowest_free
from roles.data.timekeeper import Timekeeper


class Alone(Stored):
    """Only our writer changes the tables, so what is remembered here stays true. What is not is
    read here and now: SQLite answers in some 20 us.
    """

    def __init__(
        self, database: Database, kinds: Mapping[str, Kind], sql: HistoryStatements
    ) -> None:
        super().__init__(kinds)
        self._database, self._sql = database, sql
        self._referrers: dict[NeedReferrers, list[str]] = {}
        self._clock = Timekeeper()
        self._look()

    async def begin(self, commits: Sequence[Commit]) -> float:  # noqa: ARG002
        self._referrers.clear()
        return await self.time()

    async def time(self) -> float:
        """Return the time by the data service's clock."""
        return self._clock.time(own_wall())

    def notice(self, at: float) -> None:
        """Note that it was that late already."""
        self._clock.notice(at)

    def hear(self, at: float) -> None:
        """Note that it was that late already, by a date that we gave away."""
        self._clock.hear(at)

    async def fetch(self, unread: Unread) -> None:
        """Read at once, but for what takes a look at every row of a kind."""
        for need in unread.needed:
            sql = need.pin.kind.sql.naming(need.pin.column, need.limit)
            ids = await self._database.text(sql, (need.id,))
            self._referrers[need] = ids.decode().split(ROW.decode()) if ids else []

    async def write(self, batch: NumberedWork) -> None:
        await self._database.transact(batch.work())

    async def pass_on(self) -> None:
        """Do nothing: nobody else waits."""

    async def reload(self) -> None:
        self._look()

    def answer(self, token: str) -> bytes:
        known = self._database.rows(self._sql.answer, (token,))
        return known[0][0] if known else b""

    def _look(self) -> None:
        self._forget_all()
        read = self._database.rows
        self.heads = {
            kind.decode(): number
            for kind, number in read("SELECT kind, number FROM head WHERE kind <> ''")
        }
        oldest = read("SELECT min(number) FROM feed")[0][0]
        newest = read("SELECT max(number) FROM feed")[0][0]
        for (at,) in read("SELECT at FROM feed ORDER BY number DESC LIMIT 1"):
            self.notice(at)
        self.last = max((newest or 0, *self.heads.values()))  # the same, unless somebody meddled
        self.floor = self.last if oldest is None else oldest - 1  # the feed begins past it

    def at_hand(self, kind: Kind, id: str) -> Row | None:
        """Read from memory, or here and now unless the writer waits for the disk."""
        row = self._cache.get((kind, id))
        if row is None and not self._database.committing:
            row = self.find(kind, id)
        return row

    async def known_heads(self) -> Mapping[str, int]:
        return self.heads

    async def marks(self) -> tuple[int, int]:
        return self.last, self.floor

    async def page(self, sql: str, values: Sequence[Any]) -> tuple[int, int, bytes]:
        last = self.last  # all up to here is on disk before we read
        text = await self._database.text(sql, values) if sql else b""
        return last, self.floor, text  # it may have been trimmed before the reading began

    def find(self, kind: Kind, id: str) -> Row:
        row = self._cache.get((kind, id))
        if row is None:
            found = self._database.rows(kind.sql.select, (id,))
            row = Row(*found[0], stored=True) if found else Row(0, b"", stored=False)
            self._remember((kind, id), row)
            self._evict()
        return row

    def having(self, kind: Kind, column: str, value: Any) -> str:
        found = self._database.rows(kind.sql.select_by[column], (value,))
        return found[0][0].decode() if found else ""

    def referrer(self, pin: Pin, id: str, besides: Set[str]) -> str:
        limit = len(besides) + 1
        if pin.column in pin.kind.keys:
            sql = f"{pin.kind.sql.select_by[pin.column]} LIMIT {limit}"
            found = [row.decode() for (row,) in self._database.rows(sql, (id,))]
        else:
            need = NeedReferrers(pin, id, limit)
            if need not in self._referrers:
                raise Unread(need)
            found = self._referrers[need]
        return next((row for row in found if row not in besides), "")

    def holdings(self, owner: str) -> Holdings:
        ids = self._database.rows(self._kinds["taken"].sql.select_by["owner"], (owner,))
        return dict(taken_parts(id.decode()) for (id,) in ids)

    def lowest(self, range: str, low: int) -> int:
        since, lowest = self._lowest.get(range, (None, 0))
        if since != low:
            ids = self._database.rows(self._kinds["taken"].sql.select_by["range"], (range,))
            lowest = lowest_free({taken_parts(id.decode())[1] for (id,) in ids}, low)
            self._lowest[range] = low, lowest
        return lowest
