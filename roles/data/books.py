"""The books: whether feed, heads and rows say the same. Operators ask; nobody needs it to work.

Everything is read in one transaction, so commits that go on meanwhile do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from csnode.types import Struct
from roles.data.books_sql import BooksSql
from roles.data.engine import Asking, Engine
from roles.data.gathered import COLUMN, ROW
from roles.data.stored import Stored
from roles.data.writer import Trim, Writer

FINDINGS_MAX = 1000


class Odd(Struct):
    """A row that its last entry does not describe."""

    kind: str
    id: str
    number: int  # of the entry
    said: str  # the revision it has; empty: that the row went
    has: str  # the row's own revision; empty: there is no row


class Kept(Struct):
    """What the feed holds of one kind."""

    entries: int
    low: int
    high: int
    alive: int  # rows there should be, as far back as the feed goes
    odd: tuple[Odd, ...]


class Books(Struct):
    """What one reading found."""

    kept: dict[str, Kept]
    heads: dict[str, int]
    missing: tuple[tuple[int, int], ...]  # from and to, between the first entry and the last
    unheard: tuple[tuple[str, str], ...]  # kind and id of rows that have no entry at all

    @property
    def last(self) -> int:
        """The highest number that anything knows of."""
        highs = (kept.high for kept in self.kept.values())
        return max((*highs, *self.heads.values()), default=0)

    @property
    def floor(self) -> int:
        """The feed begins past it."""
        lows = [kept.low for kept in self.kept.values()]
        return min(lows) - 1 if lows else self.last


class Checker:
    """Reads the books of one service and judges them."""

    def __init__(
        self, database: Engine, stored: Stored, writer: Writer, kinds: Iterable[str]
    ) -> None:
        self._database, self._stored, self._writer = database, stored, writer
        self._kinds = tuple(kinds)
        self._sql = BooksSql(self._kinds, database.dialect)

    async def findings(self) -> tuple[str, ...]:
        """Return what is wrong, a sentence each."""
        books = await self._database.reading(self._read())
        gaps = (_gap(first, last) for first, last in books.missing)
        found = [*gaps, *_heads(books), *_rows(books)]
        if books.floor > (await self._stored.marks())[1]:
            await self._writer.put(Trim(0, 0.0))  # a trim that we saw half done is done by then
            if books.floor > (floor := (await self._stored.marks())[1]):
                found.insert(0, _gap(floor + 1, books.floor))
        return tuple(found[:FINDINGS_MAX])

    def _read(self) -> Asking[Books]:
        sql = self._sql
        kept = {row[0].decode(): _kept(row) for row in _split((yield sql.summary, ()))}
        heads = {kind.decode(): int(number) for kind, number in _split((yield sql.heads, ()))}
        entries = sum(k.entries for k in kept.values())
        low = min((k.low for k in kept.values()), default=1)
        high = max((k.high for k in kept.values()), default=0)
        holes = _split((yield sql.holes, (high,))) if entries != high - low + 1 else ()
        unheard: list[tuple[str, str]] = []
        if low == 1 and entries == high:  # nothing was ever trimmed: each row has its entry
            for kind in self._kinds:
                count = int((yield sql.count(kind), ()))
                if count > (kept[kind].alive if kind in kept else 0):
                    ids = yield sql.unheard(kind), (kind,)
                    unheard += [(kind, id.decode()) for (id,) in _split(ids)]
        return Books(
            kept=kept,
            heads=heads,
            missing=tuple((int(a), int(b)) for a, b in holes),
            unheard=tuple(unheard),
        )


def _gap(first: int, last: int) -> str:
    if first == last:
        return f"the feed has no entry {first}"
    return f"the feed has no entries {first} to {last}"


def _heads(books: Books) -> Iterator[str]:
    floor = books.floor
    for kind in sorted(books.heads.keys() | books.kept.keys()):
        head = books.heads.get(kind, 0)
        kept = books.kept.get(kind)
        last = kept.high if kept else 0
        if kept is not None and head < last:
            yield f"the head of {kind} is {head}, but its last entry is {last}"
        elif head > max(last, floor):
            has = f"its last entry is {last}" if kept else "it has no entry in the feed"
            yield f"the head of {kind} is {head}, but {has}"


def _rows(books: Books) -> Iterator[str]:
    for kept in books.kept.values():
        for odd in kept.odd:
            what = f"{odd.kind} {odd.id}"
            if not odd.has:
                yield f"{what} is gone, but its last entry, {odd.number}, has revision {odd.said}"
            elif not odd.said:
                yield (
                    f"{what} is there at revision {odd.has}, but its last entry, {odd.number}, "
                    "says that it went"
                )
            elif odd.has != odd.said:
                yield (
                    f"{what} is at revision {odd.has}, but its last entry, {odd.number}, "
                    f"has revision {odd.said}"
                )
            else:
                yield f"{what} reads otherwise than its last entry, {odd.number}"
    for kind, id in books.unheard:
        yield f"{kind} {id} has no entry in the feed"


def _split(text: bytes) -> list[list[bytes]]:
    return [row.split(COLUMN) for row in text.split(ROW)] if text else []


def _kept(row: list[bytes]) -> Kept:
    name, entries, low, high, alive, odd = row
    kind = name.decode()
    odds = [one.decode().split("\x1d") for one in odd.split(b"\x1c")] if odd else []
    return Kept(
        entries=int(entries),
        low=int(low),
        high=int(high),
        alive=int(alive),
        odd=tuple(
            Odd(kind=kind, id=id, number=int(number), said=said, has=has)
            for id, number, said, has in odds
        ),
    )
