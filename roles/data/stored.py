"""The committed rows: those used lately in memory, the others where the engine keeps them.

Two kinds of it: the process is alone with its database (alone.py), or shares it (shared.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

from csnode.contracts.data import Commit
from csnode.faults import Invalid
from roles.data.engine import Work
from roles.data.kind import Kind, Pin, pins_of
from roles.data.layer import Holdings, Layer, Row

CACHE_BYTES = 16 * 1024 * 1024


class Unread(Exception):
    """Something that a commit needs is not in memory: fetch it, and work the commit out again."""

    def __init__(self, *needed: Any) -> None:
        super().__init__(*needed)
        self.needed = needed


class NumberedWork(Protocol):
    """What one transaction writes: a batch of commits."""

    number: int  # of its last entry in the feed

    def work(self) -> Work:
        """Return the statements, and the rows of values that each is run with."""
        ...


class Stored(ABC):
    """What a batch stands on, and where it goes.

    For each batch: `begin`, work commits out (and `fetch` what they turn out to need), then
    `write` or, if nothing is to be written, `pass_on`. When one of them fails: `reload`.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self.pins = pins_of(kinds)
        self.last = self.floor = 0  # the feed goes past one, up to the other
        self.heads: dict[str, int] = {}
        self._forget_all()

    # -- for the writer ---------------------------------------------------------------------

    @abstractmethod
    async def begin(self, commits: Sequence[Commit]) -> float:
        """Keep others from committing from now on. Returns the time by the data service's clock."""

    @abstractmethod
    async def time(self) -> float:
        """Return the time by the data service's clock; it never goes back."""

    @abstractmethod
    def notice(self, at: float) -> None:
        """Note that it was that late already, by a date of ours on disk."""

    @abstractmethod
    def hear(self, at: float) -> None:
        """Note that it was that late already, by a date that we gave away.

        It is not believed far beyond our clock's.
        """

    @abstractmethod
    async def fetch(self, unread: Unread) -> None:
        """Read what a commit needed."""

    @abstractmethod
    async def write(self, batch: NumberedWork) -> None:
        """Write all of it, on disk when this returns; or none of it, and raise a Fault."""

    @abstractmethod
    async def pass_on(self) -> None:
        """Let others commit: nothing is to be written."""

    @property
    def turn_lost(self) -> bool:
        """Whether what failed was cut off before it was written: it may be done again."""
        return False

    @abstractmethod
    async def reload(self) -> None:
        """Forget everything and look again, for nobody knows what happened."""

    @abstractmethod
    def answer(self, token: str) -> bytes:
        """Return what an earlier batch answered to that token; empty if there was none."""

    def was_lost(self, number: int) -> bool:  # noqa: ARG002
        """Tell what `lost` tells, as the batch that has the turn knows it."""
        return False

    # -- for readers ------------------------------------------------------------------------

    @abstractmethod
    def at_hand(self, kind: Kind, id: str) -> Row | None:
        """Return the row as every commit acknowledged by now left it, if that is known at once."""

    @abstractmethod
    async def known_heads(self) -> Mapping[str, int]:
        """Return the last number of each kind; every commit acknowledged by now is in it."""

    @abstractmethod
    async def marks(self) -> tuple[int, int]:
        """Return the last number of the feed, and the one that it begins past."""

    async def lost(self, number: int) -> bool:  # noqa: ARG002
        """Tell whether that number, below the last, was given in a future that is no more."""
        return False

    @abstractmethod
    async def page(self, sql: str, values: Sequence[Any]) -> tuple[int, int, bytes]:
        """Return what `marks` does, and the text that a query of the feed answers at that moment.

        Every entry up to the last number is there to be seen.
        """

    # -- memory -----------------------------------------------------------------------------

    @abstractmethod
    def find(self, kind: Kind, id: str) -> Row: ...

    @abstractmethod
    def having(self, kind: Kind, column: str, value: Any) -> str: ...

    @abstractmethod
    def referrer(self, pin: Pin, id: str, besides: Set[str]) -> str: ...

    @abstractmethod
    def holdings(self, owner: str) -> Holdings: ...

    @abstractmethod
    def lowest(self, range: str, low: int) -> int: ...

    def kind(self, name: str) -> Kind:
        """Return the kind of that name. Raises Invalid."""
        kind = self._kinds.get(name)
        if kind is None:
            raise Invalid(f"no kind of row is called {name!r} where the data role runs")
        return kind

    def kinds(self) -> Iterable[Kind]:
        """Return every kind there is."""
        return self._kinds.values()

    def absorb(self, batch: Layer) -> None:
        """Take in a batch that is on disk."""
        for key, row in batch.rows.items():
            row.stored = bool(row.text)
            row.keys = None
            self._remember(key, row)
        self._lowest.update(batch.lowest_of)
        for kind, id in batch.rows:
            if kind.name == "range" and not batch.rows[kind, id].text:
                self._lowest.pop(id, None)
        self._evict()

    def _forget_all(self) -> None:
        self._cache: dict[tuple[Kind, str], Row] = {}
        self._cached_bytes = 0
        self._lowest: dict[str, tuple[int, int]] = {}

    def _remember(self, key: tuple[Kind, str], row: Row) -> None:
        self._forget(key)
        self._cache[key] = row
        self._cached_bytes += len(row.text) + 300

    def _evict(self) -> None:
        while self._cached_bytes > CACHE_BYTES:
            self._forget(next(iter(self._cache)))

    def _forget(self, key: tuple[Kind, str]) -> None:
        if (old := self._cache.pop(key, None)) is not None:
            self._cached_bytes -= len(old.text) + 300


def lowest_free(used: set[int], low: int) -> int:
    """Return the first value from `low` on that is not used."""
    while low in used:
        low += 1
    return low
