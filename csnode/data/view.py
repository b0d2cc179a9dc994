"""A view: an in-memory copy of some kinds of row, kept by snapshot and feed.

Reads need no round trip and see every commit acknowledged before they began (`fresh`). Events
are only hints here: a gap in the numbers, or a head beyond ours, makes the view ask the feed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from csnode import metrics
from csnode.bus.event import Changed, Entry, Heads
from csnode.data.rows import decoded
from csnode.data.store import PAGE, Store
from csnode.faults import Fault, Gone, NotFound, Unavailable
from csnode.log import logger
from csnode.model.entity import Entity

E = TypeVar("E", bound=Entity)
Listener = Callable[[Any, Any], None]
log = logger("view")
CATCH_UP_S = 5.0


class View:
    """Holds every row of the kinds it was made for. Open it before use; it follows until closed."""

    def __init__(self, store: Store, kinds: tuple[type[Entity], ...]) -> None:
        self._store = store
        self._kinds = {kind.kind: kind for kind in kinds}
        self._names = tuple(self._kinds)
        self._rows: dict[str, dict[str, Entity]] = {name: {} for name in self._kinds}
        self._last: dict[str, int] = dict.fromkeys(self._kinds, 0)
        self._indexes: dict[tuple[str, str], dict[Any, dict[str, Entity]]] = {}
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._asking: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self._replay: asyncio.Task[None] | None = None
        self._closed = False
        self._snapping = False
        self.opened = False
        self.number = 0

    async def open(self) -> None:
        """Read everything, then follow. Raises Unavailable while the data service is away."""
        for name in self._names:
            self._store.bus.subscribe(Changed, self._hear, name)
        self._store.bus.subscribe(Heads, self._hear_heads)
        await self._snapshot()
        self.opened = True

    def close(self) -> None:
        """Follow no more."""
        self._closed = True
        if self._replay:
            self._replay.cancel()

    # -- reading ---------------------------------------------------------------------------

    def get(self, kind: type[E], id: str) -> E:
        """The row; NotFound."""
        row = self._rows[kind.kind].get(id)
        if row is None:
            raise NotFound(f"no {kind.kind} {id}")
        return cast("E", row)

    def maybe(self, kind: type[E], id: str | None) -> E | None:
        """The row, or None."""
        return cast("E | None", self._rows[kind.kind].get(id or ""))

    def all(self, kind: type[E]) -> list[E]:
        """Every row of the kind, in no order."""
        return cast("list[E]", list(self._rows[kind.kind].values()))

    def size(self, kind: type[Entity]) -> int:
        """How many rows of the kind there are."""
        return len(self._rows[kind.kind])

    def by(self, kind: type[E], column: str, value: Any) -> list[E]:
        """Rows whose column has the value; the index is made when first asked for, then kept."""
        index = self._indexes.get((kind.kind, column))
        if index is None:
            index = self._indexes[kind.kind, column] = defaultdict(dict)
            for row in self._rows[kind.kind].values():
                index[getattr(row, column)][row.id] = row
        found = index.get(value)
        return cast("list[E]", list(found.values())) if found else []

    def listen(self, kind: type[Entity], listener: Listener) -> None:
        """Call listener(old, new) at every change; old or new is None for a new or deleted row."""
        self._listeners[kind.kind].append(listener)

    async def fresh(self) -> None:
        """Wait until every commit acknowledged before this call is in the view.

        One question to the data service serves all who wait at that moment; whoever comes while
        it is under way needs the next one. Raises Unavailable if that takes over five seconds.
        """
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask_head())
            await asyncio.shield(self._asking)
            return
        if self._next is None:
            self._next = asyncio.ensure_future(self._ask_after(self._asking))
        await asyncio.shield(self._next)

    async def reach(self, number: int) -> None:
        """Wait until the view holds that number."""
        if number <= self.number:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append((number, waiting))
        try:
            async with asyncio.timeout(1.0):
                await asyncio.shield(waiting)
        except TimeoutError:
            await self._catch_up()
            if number > self.number:
                raise Unavailable("the data service is ahead of this view") from None

    # -- following -------------------------------------------------------------------------

    async def _ask_after(self, asking: asyncio.Future[None]) -> None:
        await asyncio.wait((asking,))
        self._asking, self._next = self._next, None
        await self._ask_head()

    async def _ask_head(self) -> None:
        me = asyncio.current_task()
        try:
            await self.reach(await self._store.data.head(self._names))
        finally:
            if self._asking is me:
                self._asking = None

    async def _snapshot(self) -> None:
        """Rows may be newer than `start`; replaying from there is harmless, revisions decide."""
        self._snapping = True  # what is heard meanwhile is replayed afterwards
        try:
            start = await self._store.data.head(self._names)
            await self._read_all()
        finally:
            self._snapping = False
        self._last = dict.fromkeys(self._names, start)
        self.number = max(self.number, start)
        await self._catch_up()

    async def _read_all(self) -> None:
        for name in self._names:
            seen: set[str] = set()
            after = ""
            while True:
                page = await self._store.data.find(name, {}, after, PAGE)
                for row in page:
                    seen.add(row.id)
                    self._put(name, row.id, decoded(self._kinds[name], row.row))
                if len(page) < PAGE:
                    break
                after = page[-1].id
            for id in [id for id in self._rows[name] if id not in seen]:
                self._put(name, id, None)

    def _hear(self, event: Changed) -> None:
        if self._closed or self._snapping or not event.entries:
            return
        last = self._last[event.kind]
        if event.before > last:
            self._start_replay()
            return
        for entry in event.entries:
            if entry.number > last:
                self._apply(event.kind, entry)
        self._last[event.kind] = max(last, event.entries[-1].number)
        if self._replay is None:
            self._advance(max(self._last.values()))

    def _hear_heads(self, event: Heads) -> None:
        if (
            not self._closed
            and self.opened
            and any(event.numbers.get(name, 0) > last for name, last in self._last.items())
        ):
            self._start_replay()

    def _start_replay(self) -> None:
        if self._replay is None or self._replay.done():
            metrics.REPLAYS.inc()
            self._replay = asyncio.ensure_future(self._replay_quietly())

    async def _replay_quietly(self) -> None:
        try:
            await self._catch_up()
        except Fault as fault:  # the next heads event starts another
            log.info("cannot catch up yet", why=fault.message)
        finally:
            self._replay = None

    async def _catch_up(self) -> None:
        """Ask the feed for what is missing; start again from a snapshot if it is too old."""
        try:
            after = min(self._last.values())
            while True:
                page = await self._store.data.feed(after, self._names, PAGE)
                for name, entry in page.entries:
                    if entry.number > self._last[name]:
                        self._apply(name, entry)
                after = page.upto
                self._last = {name: max(last, after) for name, last in self._last.items()}
                if len(page.entries) < PAGE:
                    break
            self._advance(after)
        except Gone:
            await self._snapshot()

    def _apply(self, name: str, entry: Entry) -> None:
        held = self._rows[name].get(entry.id)
        if held is not None and held.revision >= entry.revision:
            return
        self._put(name, entry.id, decoded(self._kinds[name], entry.row) if entry.row else None)

    def _put(self, name: str, id: str, row: Entity | None) -> None:
        rows = self._rows[name]
        old = rows.get(id)
        if row is None:
            rows.pop(id, None)
        else:
            rows[id] = row
        for (kind, column), index in self._indexes.items():
            if kind == name:
                if old is not None and (held := index.get(getattr(old, column))) is not None:
                    held.pop(id, None)
                if row is not None:
                    index[getattr(row, column)][id] = row
        if old is not None or row is not None:
            for listener in self._listeners[name]:
                listener(old, row)

    def _advance(self, number: int) -> None:
        self.number = max(self.number, number)
        if self._waiting:
            for wanted, waiting in self._waiting:
                if wanted <= self.number and not waiting.done():
                    waiting.set_result(None)
            self._waiting = [(n, w) for n, w in self._waiting if not w.done()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)
