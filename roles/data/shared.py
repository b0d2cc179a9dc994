"""The committed rows of a database that several processes write: PostgreSQL.

A batch takes the turn first, so nobody else commits until it ends. What is remembered from the
batch before is true if the feed's last number has not moved since; if it has, the entries between
tell what others wrote. What a batch will read is fetched before; what turns out to be missing is
fetched then, and the commit worked out again.

Why the feed has no gap that fills later: numbers are given out under the turn, and PostgreSQL shows
a transaction's rows before it lets go of its locks. So whoever sees entry n sees all below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from typing import Any

from csnode.contracts.data import Commit
from csnode.faults import Unavailable
from csnode.model.ids import taken_parts
from roles.data import postgres
from roles.data import postgres_sql as statements
from roles.data.kind import Kind, Pin
from roles.data.layer import Holdings, Row
from roles.data.needs import (
    REFERRERS,
    Need,
    NeedHaving,
    NeedHoldings,
    NeedRange,
    NeedReferrers,
    NeedRow,
    NeedToken,
    needs,
    values,
)
from roles.data.postgres import Database
from roles.data.schema import HistoryStatements, plain
from roles.data.stored import NumberedWork, Stored, Unread, lowest_free
from roles.data.timekeeper import Timekeeper

FOLLOW_MAX = 2000  # entries of others; if there are more, everything is read anew
AHEAD = 64


class Shared(Stored):
    """For one batch at a time; readers ask the database itself."""

    def __init__(
        self, database: Database, kinds: Mapping[str, Kind], sql: HistoryStatements
    ) -> None:
        super().__init__(kinds)
        self._database, self._sql = database, sql
        self._clock = Timekeeper()
        self._known = False  # whether memory is true as of entry `last`
        self._by_id = {kind.sql.select: kind for kind in kinds.values()}
        self._by_value = {k.sql.select_by[c]: (k, c) for k in kinds.values() for c in k.unique}
        self._by_naming: dict[str, Pin] = {}
        self._heads_next: asyncio.Task[Mapping[str, int]] | None = None
        self._heads_turn = asyncio.Lock()
        self._clear()

    def _clear(self) -> None:
        self._having: dict[tuple[Kind, str, str], str] = {}
        self._referrers: dict[tuple[Pin, str], tuple[int, list[str]]] = {}  # at most; who
        self._holdings: dict[str, Holdings] = {}
        self._used: dict[str, set[int]] = {}
        self._answers: dict[str, bytes] = {}

    # -- for the writer ---------------------------------------------------------------------

    async def begin(self, commits: Sequence[Commit]) -> float:
        self._clear()
        self._evict()
        await self._database.take_turn()
        if not self._known:
            await self._look()
        number, time = await self._fetch(self._needs(commits))
        if number != self.last and not await self._follow(number):
            await self._look()
            await self._fetch(self._needs(commits))
        return time

    def _needs(self, commits: Sequence[Commit]) -> set[Need]:
        return set(needs(commits, self._kinds, self.pins, self._low))

    def _low(self, range: str) -> int | None:
        known = self._lowest.get(range)
        return known[1] if known else None

    async def _look(self) -> None:
        """Look at everything anew."""
        self._forget_all()
        heads = dict(await self._database.ask_writer(statements.HEADS))
        self.last = heads.pop("", 0)
        self.heads = heads
        self._known = True

    async def _follow(self, number: int) -> bool:
        """Take in what others committed; False if it cannot be known by that."""
        if not 0 < number - self.last <= FOLLOW_MAX:
            return False
        found = await self._database.ask_writer(statements.SINCE, self.last, FOLLOW_MAX)
        if len(found) != number - self.last:
            return False
        for number_, name, id, revision, text in found:
            self.heads[name] = number_
            if kind := self._kinds.get(name):
                row = text.encode()
                self._remember((kind, id), Row(revision, row, stored=bool(row)))
                if name == "taken" and not row:
                    self._given(*taken_parts(id))
        self.last = number
        return True

    def _given(self, range: str, value: int) -> None:
        low, lowest = self._lowest.get(range, (0, None))
        if lowest is not None and low <= value < lowest:
            self._lowest[range] = low, value

    async def fetch(self, unread: Unread) -> None:
        wanted: set[Need] = set()
        for need in unread.needed:
            wanted.add(need)
            if isinstance(need, NeedRow) and need.kind.name == "taken":
                wanted.update(values(self._kinds, *taken_parts(need.id), AHEAD))
        await self._fetch(wanted)

    async def _fetch(self, wanted: set[Need]) -> tuple[int, float]:
        """Fetch in one round trip. Returns the feed's last number, and the time."""
        asked: dict[str, list[Any]] = {}
        for need in wanted:
            self._ask(need, asked)
        texts = [
            statements.NUMBER_AND_TIME,
            *(statements.shifted(text, n) for n, text in enumerate(asked)),
        ]
        parts = (f"SELECT {n} AS part, q.* FROM ({text}) AS q" for n, text in enumerate(texts))
        found = await self._database.ask_writer(" UNION ALL ".join(parts), *asked.values())
        number, time = -1, 0.0
        whats = list(asked)
        for part, id, revision, text, value in found:
            if part:
                self._learn(whats[int(part) - 1], id, revision, text, value)
            else:
                number = revision
                self.notice(float(value))
                time = self._clock.time(self._database.clock(float(text)))
        if number < 0:
            raise Unavailable("the database has lost its turn", detail="no row '' in table head")
        return number, time

    async def time(self) -> float:
        """Return the time by the server's clock, unless that went back."""
        found = await self._database.ask(statements.TIME)
        return self._clock.time(self._database.clock(float(found[0][0])))

    def notice(self, at: float) -> None:
        """Note that it was that late already."""
        self._clock.notice(at)

    def hear(self, at: float) -> None:
        """Note that it was that late already, by a date that we gave away."""
        self._clock.hear(at)

    def _ask(self, need: Need, asked: dict[str, list[Any]]) -> None:
        """Add it to what is asked; what is not found will be known to be absent."""
        taken = self._kinds["taken"].sql
        value: Any
        match need:
            case NeedRow(kind, value):
                if (kind, value) in self._cache:
                    return
                self._remember((kind, value), Row(0, b"", stored=False))
                part = kind.sql.select
            case NeedHaving(kind, column, value):
                self._having[kind, column, str(value)] = ""
                part = kind.sql.select_by[column]
            case NeedReferrers(pin, value, limit):
                self._referrers[pin, value] = limit, []
                part = pin.kind.sql.naming(pin.column, limit)
                self._by_naming[part] = pin
            case NeedHoldings(value):
                self._holdings[value] = {}
                part = taken.select_by["owner"]
            case NeedRange(value):
                self._used[value] = set()
                part = statements.VALUES_OF_RANGE
            case NeedToken(value):
                self._answers[value] = b""
                part = statements.ANSWERS
        if not (isinstance(value, str) and "\x00" in value):  # no text has that
            asked.setdefault(part, []).append(plain(value))

    def _learn(self, part: str, id: str, revision: int, text: str, value: str) -> None:
        if pin := self._by_naming.get(part):
            self._referrers[pin, value][1].append(id)
        elif kind := self._by_id.get(part):
            self._remember((kind, id), Row(revision, text.encode(), stored=True))
        elif part == statements.ANSWERS:
            self._answers[id] = text.encode()
        elif part == statements.VALUES_OF_RANGE:
            self._used[value].add(taken_parts(id)[1])
        elif part == self._kinds["taken"].sql.select_by["owner"]:
            range, number = taken_parts(id)
            self._holdings[value][range] = number
            self._remember((self._kinds["taken"], id), Row(revision, text.encode(), stored=True))
        else:
            kind, column = self._by_value[part]
            self._having[kind, column, value] = id

    async def write(self, batch: NumberedWork) -> None:
        turn = (self._sql.head, [("", batch.number)])
        await self._database.write([*batch.work(), turn])

    def was_lost(self, number: int) -> bool:
        return any(past < number < below for past, below in self._database.lost)

    async def pass_on(self) -> None:
        await self._database.pass_on()

    @property
    def turn_lost(self) -> bool:
        return self._database.turn_lost

    async def reload(self) -> None:
        self._known = False
        self._database.hang_up()

    def answer(self, token: str) -> bytes:
        known = self._answers.get(token)
        if known is None:
            raise Unread(NeedToken(token))
        return known

    # -- memory -----------------------------------------------------------------------------

    def find(self, kind: Kind, id: str) -> Row:
        row = self._cache.get((kind, id))
        if row is None:
            raise Unread(NeedRow(kind, id))
        return row

    def having(self, kind: Kind, column: str, value: Any) -> str:
        known = self._having.get((kind, column, str(plain(value))))
        if known is None:
            raise Unread(NeedHaving(kind, column, plain(value)))
        return known

    def referrer(self, pin: Pin, id: str, besides: Set[str]) -> str:
        limit, found = self._referrers.get((pin, id), (0, []))
        for row in found:
            if row not in besides:
                return row
        if limit <= len(found):  # there may be more; 0: nobody has looked
            raise Unread(NeedReferrers(pin, id, max(2 * limit, REFERRERS)))
        return ""

    def holdings(self, owner: str) -> Holdings:
        known = self._holdings.get(owner)
        if known is None:
            raise Unread(NeedHoldings(owner))
        return dict(known)

    def lowest(self, range: str, low: int) -> int:
        since, lowest = self._lowest.get(range, (None, 0))
        if since != low:
            if range not in self._used:
                raise Unread(NeedRange(range))
            lowest = lowest_free(self._used[range], low)
            self._lowest[range] = low, lowest
        return lowest

    # -- for readers ------------------------------------------------------------------------

    def at_hand(self, kind: Kind, id: str) -> Row | None:  # noqa: ARG002
        return None  # another process may have committed

    async def known_heads(self) -> Mapping[str, int]:
        """Ask one query for all who ask until it begins.

        It begins when the one before has ended.
        """
        if self._heads_next is None:
            self._heads_next = asyncio.ensure_future(self._ask_heads())
        return await asyncio.shield(self._heads_next)

    async def _ask_heads(self) -> Mapping[str, int]:
        async with self._heads_turn:
            self._heads_next = None
            heads = dict(await self._database.ask(statements.HEADS, within_s=postgres.ANSWER_S))
        heads.pop("", None)
        return heads

    async def marks(self) -> tuple[int, int]:
        last, floor, _ = await self.page("", ())
        return last, floor

    async def lost(self, number: int) -> bool:
        return bool(await self._database.ask(statements.IS_LOST, number))

    async def page(self, sql: str, values: Sequence[Any]) -> tuple[int, int, bytes]:
        text = f"({sql})" if sql else "''"
        found = await self._database.ask(f"SELECT {statements.MARKS}, {text}", *values)
        last, oldest, text = found[0]
        self.floor = (last or 0) if oldest is None else oldest - 1
        return last or 0, self.floor, (text or "").encode()
