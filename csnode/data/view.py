"""A view: an in-memory copy of some kinds of row, kept by snapshot and feed.

Reads need no round trip and see every commit acknowledged before they began (`fresh`). Events
are only hints here: a gap in the numbers, or a head beyond ours, makes the view ask the feed.
Where no event comes at all, the view looks by itself every few seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar, cast

from csnode import metrics
from csnode.bus.event import Changed, Entry, Heads
from csnode.contracts.refusal import absent
from csnode.data import pages
from csnode.data.index import Index
from csnode.data.rows import decoded
from csnode.data.store import Store
from csnode.faults import Fault, Gone, Invalid, Unavailable
from csnode.log import logger
from csnode.model.entity import Entity

E = TypeVar("E", bound=Entity)
Listener = Callable[[Any, Any], None]
log = logger("view")
CATCH_UP_S = 5.0  # what `fresh` may take
EVENTS_S = 0.2  # how long it waits for events that are due, before it asks the feed
QUIET_S = 3.0  # after so long without any event the view looks by itself
SURE = 10  # and every so many times in any case


class View:
    """Holds every row of the kinds it was made for. Open it before use; it follows until closed."""

    def __init__(self, store: Store, kinds: tuple[type[Entity], ...]) -> None:
        self._store = store
        self._kinds = {kind.kind: kind for kind in kinds}
        self._names = tuple(self._kinds)
        self._kept = self._names  # what the data service asked last has of them
        self._rows: dict[str, dict[str, Entity]] = {name: {} for name in self._kinds}
        self._done: dict[str, int] = dict.fromkeys(self._kinds, 0)  # all up to there is here
        self._heads: dict[str, int] = dict.fromkeys(self._kinds, 0)  # as far as we know
        self._indexes: dict[tuple[str, str], Index] = {}
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._waiting: list[tuple[tuple[int, ...], asyncio.Future[None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._replay: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._parts: dict[int, dict[str, Changed]] = {}  # by batch: heard, and not all of it
        self._held: list[Changed] = []  # heard while the feed is read
        self._turn = asyncio.Lock()  # one reads feed or rows at a time
        self._own = copy_context()
        self._life = 0  # how often the rows were read as a whole
        self._heard = False  # any event since the last look
        self._deaf = False  # the last events that were due did not come
        self._closed = False
        self._snapping = False
        self.opened = False

    async def open(self) -> None:
        """Read everything, then follow. Raises Unavailable while the data service is away."""
        self._closed = False
        for name in self._names:
            self._store.bus.subscribe(Changed, self._hear, name)
        self._store.bus.subscribe(Heads, self._hear_heads)
        self._own = copy_context()
        try:
            async with self._turn:
                await self._snapshot()
        except BaseException:
            self.close()
            raise
        self._watching = self._spawn(self._watch())
        self.opened = True

    def close(self) -> None:
        """Follow no more; the bus lets go of us, or nobody would forget the rows."""
        self._closed = True
        for name in self._names:
            self._store.bus.unsubscribe(Changed, self._hear, name)
        self._store.bus.unsubscribe(Heads, self._hear_heads)
        for task in (self._watching, self._replay):
            if task is not None:
                task.cancel()

    @property
    def number(self) -> int:
        """Every entry of our kinds up to there is in the view; there may be later ones."""
        return min((self._done[name] for name in self._kept), default=0)

    # -- reading ---------------------------------------------------------------------------

    def get(self, kind: type[E], id: str) -> E:
        """The row; NotFound."""
        row = self._rows[kind.kind].get(id)
        if row is None:
            raise absent(kind.kind, id)
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
            index = self._indexes[kind.kind, column] = Index(column, self._rows[kind.kind].values())
        return cast("list[E]", index.having(value))

    def listen(self, kind: type[Entity], listener: Listener) -> None:
        """Call listener(old, new) at every change; old or new is None for a new or deleted row."""
        self._listeners[kind.kind].append(listener)

    async def fresh(self) -> None:
        """Wait until every commit acknowledged before this call is in the view.

        One question to the data service serves all who wait at that moment; whoever comes while
        it is under way needs the next one. Raises Unavailable if that takes over five seconds.
        """
        if self._asking is None:
            self._asking = self._spawn(self._ask())
            await asyncio.shield(self._asking)
            return
        if self._next is None:
            self._next = self._spawn(self._ask_after(self._asking))
        await asyncio.shield(self._next)

    async def reach(self, number: int) -> None:
        """Wait until the view holds what was committed up to that number, as `fresh` does."""
        if number > self.number:
            await self.fresh()

    # -- following -------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """In the context the view was opened in: listeners are nobody's call."""
        task = asyncio.get_running_loop().create_task(work, context=self._own.copy())
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # somebody saw it
        return task

    async def _ask_after(self, asking: asyncio.Task[None]) -> None:
        await asyncio.wait((asking,))
        self._asking, self._next = self._next, None
        await self._ask()

    async def _ask(self) -> None:
        me = asyncio.current_task()
        try:
            async with asyncio.timeout(CATCH_UP_S):
                await self._reach_head()
        except TimeoutError:
            raise Unavailable("this view cannot catch up with the data service") from None
        finally:
            if self._asking is me:
                self._asking = None

    async def _reach_head(self) -> None:
        life, known = self._life, self._heads.copy()
        heads = await self._ask_heads()
        if not self._sank(known, heads) and self._lacks(heads):
            await self._hear_out(heads)
        for _ in range(2):  # a replay that was under way may have begun too early
            if not self._lacks(heads) and not (life == self._life and self._sank(known, heads)):
                break
            self._start_replay()
            assert self._replay is not None
            await asyncio.shield(self._replay)  # it goes on if this is cut short
        if self._lacks(heads):
            raise Unavailable("the data service is ahead of this view")
        if life == self._life:
            self._note(heads)

    async def _ask_heads(self) -> tuple[int, ...]:
        """The head of each of our kinds; of one that a data service of the version before does not
        know, no news: another one may have rows of it, and is asked the next time.
        """
        data = self._store.data
        try:
            heads = await data.heads(self._names)
        except Invalid:
            self._kept = tuple([name for name in self._names if await self._is_kept(name)])
            known = dict(zip(self._kept, await data.heads(self._kept), strict=True))
            return tuple(known.get(name, self._heads[name]) for name in self._names)
        self._kept = self._names
        return heads

    async def _is_kept(self, name: str) -> bool:
        try:
            await self._store.data.head((name,))
        except Invalid:
            return False
        return True

    async def _hear_out(self, heads: tuple[int, ...]) -> None:
        """Events may be on their way; if they did not come the last time, do not wait."""
        if self._deaf:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((heads, waiting))
        try:
            async with asyncio.timeout(EVENTS_S):
                await waiting
        except TimeoutError:
            self._deaf = True
        finally:
            self._waiting = [w for w in self._waiting if w[1] is not waiting]

    async def _look(self) -> None:
        """Ask where the data service is, and go there."""
        life, known = self._life, self._heads.copy()
        heads = await self._ask_heads()
        async with self._turn:
            if life != self._life:
                return  # read again meanwhile, and these may be of another database
            if self._sank(known, heads):
                log.warning(
                    "the data service went back to an older database; reading everything again",
                    was=max(known.values()), now=max(heads),
                )  # fmt: skip
                await self._snapshot()
                return
            self._note(heads)
            if self._lacks(heads):
                try:
                    await self._read_feed()
                except Gone:
                    await self._snapshot()

    def _sank(self, known: dict[str, int], heads: tuple[int, ...]) -> bool:
        """Whether a head is lower than it was before we asked. That is another database."""
        return any(head < known[name] for name, head in zip(self._names, heads, strict=True))

    def _note(self, heads: tuple[int, ...]) -> None:
        """Where we have a kind's last entry, we have it up to the highest head."""
        upto = max(heads, default=0)
        for name, head in zip(self._names, heads, strict=True):
            self._heads[name] = max(self._heads[name], head)
            if head <= self._done[name] < upto and name in self._kept:
                self._done[name] = upto

    def _lacks(self, heads: tuple[int, ...]) -> bool:
        done = self._done
        return any(done[name] < head for name, head in zip(self._names, heads, strict=True))

    async def _watch(self) -> None:
        """The turn that makes events optional."""
        quiet = 0
        while True:
            await asyncio.sleep(QUIET_S)
            quiet += 1
            if self._heard and quiet < SURE:
                self._heard = False
                continue
            quiet = 0
            await self._replay_quietly()

    async def _snapshot(self) -> None:
        """Rows may be newer than `heads`; replaying from there is harmless, revisions decide."""
        while True:
            self._snapping = True  # what is heard meanwhile is replayed afterwards
            try:
                heads = await self._ask_heads()
                kept = self._kept
                await self._read_all(kept)
            finally:
                self._snapping = False
            self._life += 1
            self._heads = dict(zip(self._names, heads, strict=True))
            upto = max(heads, default=0)
            self._done = {name: upto if name in kept else 0 for name in self._names}
            with suppress(Gone):  # reading took longer than the feed reaches back
                await self._read_feed()
                return

    async def _read_all(self, kept: tuple[str, ...]) -> None:
        for name in kept:
            seen: set[str] = set()
            async for page in pages.rows(self._store.data, name, {}):
                for row in page:
                    seen.add(row.id)
                    self._put(name, row.id, decoded(self._kinds[name], row.row))
            for id in [id for id in self._rows[name] if id not in seen]:
                self._put(name, id, None)

    def _hear(self, event: Changed) -> None:
        """What was written at once is seen at once, or a machine would be seen without its job."""
        self._heard = True
        if self._closed or self._snapping or not event.entries:
            return
        if self._replay is not None and not self._replay.done():
            self._held.append(event)
            return
        if event.entries[-1].number <= self._done[event.kind]:
            return
        if not event.along:  # of the version before: only the feed tells what was written with it
            self._start_replay()
            return
        parts = self._parts.setdefault(event.batch, {})
        parts[event.kind] = event
        if all(kind in parts for kind in event.along if kind in self._kinds):
            del self._parts[event.batch]
            self._take_in(parts)

    def _take_in(self, parts: dict[str, Changed]) -> None:
        if any(part.before > self._done[kind] for kind, part in parts.items()):
            self._start_replay()
            self._held += parts.values()
            return
        for name, part in parts.items():
            done = self._done[name]
            for entry in (e for e in part.entries if e.number > done):
                self._apply(name, entry)
            self._done[name] = max(done, part.entries[-1].number)
            self._heads[name] = max(self._heads[name], self._done[name])
        self._deaf = False
        self._tell()

    def _hear_held(self) -> None:
        """The feed was read: of what was heard meanwhile, and before in part, the later counts."""
        parts, held, self._parts, self._held = self._parts, self._held, {}, []
        for event in [*(event for batch in parts.values() for event in batch.values()), *held]:
            self._hear(event)

    def _hear_heads(self, event: Heads) -> None:
        """One below what we know may be late, or of another database: looking tells."""
        self._heard = True
        if self._closed or not self.opened:
            return
        heads = [(name, event.numbers.get(name, 0)) for name in self._names]
        if any(head > self._done[name] or head < self._heads[name] for name, head in heads):
            self._start_replay()

    def _start_replay(self) -> None:
        if self._replay is None or self._replay.done():
            metrics.REPLAYS.inc()
            self._replay = self._spawn(self._replay_quietly())
            self._replay.add_done_callback(lambda _: self._hear_held(), context=self._own)

    async def _replay_quietly(self) -> None:
        try:
            await self._look()
        except Fault as fault:  # the next heads event, or the next look, starts another
            self._parts, self._held = {}, []
            log.info("cannot catch up yet", why=fault.message)
        except Exception:
            log.exception("a view broke")

    async def _read_feed(self) -> None:
        kept = self._kept
        after = min((self._done[name] for name in kept), default=0)
        async for page in pages.feed(self._store.data, after, kept):
            for name, entry in page.entries:
                if entry.number > self._done[name]:
                    self._apply(name, entry)
                self._heads[name] = max(self._heads[name], entry.number)
            self._done |= {name: max(self._done[name], page.upto) for name in kept}
        self._tell()

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
        for (kind, _), index in self._indexes.items():
            if kind == name:
                index.put(id, old, row)
        if old is not None or row is not None:
            for listener in self._listeners[name]:
                listener(old, row)

    def _tell(self) -> None:
        for wanted, waiting in self._waiting:
            if not waiting.done() and not self._lacks(wanted):
                waiting.set_result(None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)
