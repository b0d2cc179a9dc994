"""A view: an in-memory copy of some kinds of row, kept by snapshot and feed.

Reads need no round trip (`Replica`) and see every commit acknowledged before they began (`fresh`).
A `Follower` hears events for it, and a `FeedReader` reads what they do not say.
"""

from __future__ import annotations

import asyncio

from csnode.data.feed_reader import FeedReader
from csnode.data.follower import Follower
from csnode.data.position import Position
from csnode.data.replica import Replica, RowWriter
from csnode.data.store import Store
from csnode.faults import Unavailable
from csnode.model.entity import Entity

CATCH_UP_S = 5.0  # what `fresh` may take


class View(Replica):
    """Holds every row of the kinds it was made for. Open it before use; it follows until closed."""

    def __init__(self, store: Store, kinds: tuple[type[Entity], ...]) -> None:
        super().__init__(kinds)
        self._position = Position(tuple(self))
        rows = RowWriter(self._kinds, self._rows, self._indexes, self._listeners)
        reader = FeedReader(store, rows, self._position)
        self._follower = Follower(store.bus, rows, self._position, reader)
        self._questions = Questions(self._position, reader, self._follower)
        self.opened = False

    async def open(self) -> None:
        """Read everything, then follow. Raises Unavailable while the data service is away."""
        await self._follower.open()
        self.opened = True

    def close(self) -> None:
        """Follow no more, and have the bus let go: else it would hold the rows for ever."""
        self._follower.close()

    @property
    def number(self) -> int:
        """Return the number up to which the view has every entry; there may be later ones."""
        return self._position.number

    async def fresh(self) -> None:
        """Wait until every commit acknowledged before this call is in the view.

        One question to the data service serves all who wait at that moment; whoever comes while
        it is under way needs the next one. Raises Unavailable if that takes over five seconds.
        """
        await self._questions.ask()

    async def reach(self, number: int) -> None:
        """Wait until the view holds what was committed up to that number, as `fresh` does."""
        if number > self.number:
            await self.fresh()


class Questions:
    """Asks the data service how far it is: one question for all callers of that moment."""

    def __init__(self, position: Position, reader: FeedReader, follower: Follower) -> None:
        self._position, self._reader, self._follower = position, reader, follower
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def ask(self) -> None:
        """Wait until the view is where the data service was when this was called, or later."""
        if self._asking is None:
            self._asking = self._follower.spawn(self._ask())
            await asyncio.shield(self._asking)
            return
        if self._next is None:
            self._next = self._follower.spawn(self._ask_after(self._asking))
        await asyncio.shield(self._next)

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
        position = self._position
        life, known = position.life, position.heads.copy()
        heads = await self._reader.ask_heads()
        if not position.sank(known, heads) and position.lacks(heads):
            await self._follower.hear_out(heads)
        for _ in range(2):  # a replay that was under way may have begun too early
            went_back = life == position.life and position.sank(known, heads)
            if not position.lacks(heads) and not went_back:
                break
            await asyncio.shield(self._follower.replay())  # it goes on if this is cut short
        if position.lacks(heads):
            raise Unavailable("the data service is ahead of this view")
        if life == position.life:
            position.note(heads)
