"""Reads rows and the feed of the data service into a replica."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from csnode.data import pages
from csnode.data.position import Numbers, Position
from csnode.data.replica import RowWriter
from csnode.data.store import Store
from csnode.faults import Gone, Invalid
from csnode.log import logger

log = logger("view")


class FeedReader:
    """Asks the data service for all rows, or for what the replica lacks. A view makes one."""

    def __init__(self, store: Store, rows: RowWriter, position: Position) -> None:
        self._store, self._rows, self._position = store, rows, position
        self._turn = asyncio.Lock()  # one reads feed or rows at a time
        self.snapping = False  # all rows are being read: what is heard is replayed afterwards

    async def read_all(self) -> None:
        """Read every row, and what was written meanwhile."""
        async with self._turn:
            await self._snapshot()

    async def look(self) -> None:
        """Ask how far the data service is, and read up to there. Raises Unavailable."""
        position = self._position
        life, known = position.life, position.heads.copy()
        heads = await self.ask_heads()
        async with self._turn:
            if life != position.life:
                return  # read again meanwhile, and these may be of another database
            if position.sank(known, heads):
                log.warning(
                    "the data service went back to an older database; reading everything again",
                    was=max(known.values()), now=max(heads),
                )  # fmt: skip
                await self._snapshot()
                return
            position.note(heads)
            if position.lacks(heads):
                try:
                    await self._read_feed()
                except Gone:
                    await self._snapshot()

    async def ask_heads(self) -> Numbers:
        """Return the head of each kind.

        A data service of the version before may not know a kind. Its head stays as it was, for
        another data service may have rows of it, and is asked the next time.
        """
        data, position = self._store.data, self._position
        names = position.names
        try:
            heads = await data.heads(names)
        except Invalid:
            position.kept = tuple([name for name in names if await self._is_kept(name)])
            known = dict(zip(position.kept, await data.heads(position.kept), strict=True))
            return tuple(known.get(name, position.heads[name]) for name in names)
        position.kept = names
        return heads

    async def _is_kept(self, name: str) -> bool:
        try:
            await self._store.data.head((name,))
        except Invalid:
            return False
        return True

    async def _snapshot(self) -> None:
        """Read all rows. They may be newer than `heads`: revisions make replaying harmless."""
        while True:
            self.snapping = True
            try:
                heads = await self.ask_heads()
                kept = self._position.kept
                for name in kept:
                    await self._read_rows(name)
            finally:
                self.snapping = False
            self._position.restart(heads, kept)
            with suppress(Gone):  # reading took longer than the feed reaches back
                await self._read_feed()
                return

    async def _read_rows(self, name: str) -> None:
        seen: set[str] = set()
        async for page in pages.rows(self._store.data, name, {}):
            for row in page:
                seen.add(row.id)
                self._rows.put(name, row.id, row.row)
        self._rows.keep(name, seen)

    async def _read_feed(self) -> None:
        position = self._position
        kept = position.kept
        after = min((position.done[name] for name in kept), default=0)
        async for page in pages.feed(self._store.data, after, kept):
            for name, entry in page.entries:
                if entry.number > position.done[name]:
                    self._rows.apply(name, entry)
                position.heads[name] = max(position.heads[name], entry.number)
            position.done |= {name: max(position.done[name], page.upto) for name in kept}
        position.tell()
