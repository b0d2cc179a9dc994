"""The one writer: commits that arrive together share one transaction and one fsync.

While a batch is on its way to the disk the next one gathers. Commits are worked out in memory
(layer.py), so that one that fails costs the others nothing; only the disk fails a whole batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import NamedTuple

from csnode import metrics
from csnode.bus.event import Changed
from csnode.context import Context, current
from csnode.contracts.data import Commit, Committed, Hold
from csnode.faults import Broken, Fault, Unavailable
from csnode.log import logger
from roles.data.batch import Batch
from roles.data.engine import Engine
from roles.data.schema import HistoryStatements
from roles.data.stored import Stored, Unread

log = logger("data")
TRIM = 1000  # entries and tokens in one go: about 2 ms
TURNS = 3  # that a batch takes: on a busy machine one may be lost before anything is written


class Trim(NamedTuple):
    """Forget the feed up to that number, and tokens from before that time."""

    upto: int
    tokens_before: float


class Era(NamedTuple):
    """Begin an era whose numbers are above that one."""

    beyond: int


class Waiting(NamedTuple):
    """A commit, who waits for it, and in whose name."""

    wanted: Commit | Trim | Era
    answer: asyncio.Future[Committed]
    context: Context


def _renews(wanted: Commit | Trim | Era) -> bool:
    """Tell whether it is of leases alone: nothing may wait for it, nor it for others.

    A cloud with much to do would lose the leases of those who do it.
    """
    return isinstance(wanted, Commit) and all(isinstance(item, Hold) for item in wanted.changes)


class Writer:
    """Takes commits in the order they come; `news` is told of every batch after its callers."""

    def __init__(
        self,
        database: Engine,
        stored: Stored,
        sql: HistoryStatements,
        news: Callable[[Changed], None],
        batch_max: int,
    ) -> None:
        self.trouble = ""  # why the last batch failed, if it did
        self._database, self._stored, self._sql = database, stored, sql
        self._news, self._batch_max = news, batch_max
        self._own = copy_context()
        self._leases: deque[Waiting] = deque()  # they go first
        self._queue: deque[Waiting] = deque()
        self._work: asyncio.Task[None] | None = None

    def put(self, wanted: Commit | Trim | Era) -> asyncio.Future[Committed]:
        """Put a commit in line; the answer will be there once it is on disk."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        waiting = Waiting(wanted, answer, current())
        (self._leases if _renews(wanted) else self._queue).append(waiting)
        if self._work is None:  # in our own context: its news are of many callers
            self._work = loop.create_task(self._empty_queue(), context=self._own.copy())
        return answer

    async def trim(self, keep: int, tokens_before: float) -> None:
        """Keep that many entries of the feed, and the tokens used since."""
        while True:
            last, floor = await self._stored.marks()  # anew: an era may have begun meanwhile
            if floor >= last - keep:
                break
            await self.put(Trim(min(last - keep, floor + TRIM), 0.0))
        while await self._database.text(self._sql.old_token, (tokens_before,)):
            await self.put(Trim(0, tokens_before))

    async def idle(self) -> None:
        """Wait until everything asked for so far is done."""
        while self._work is not None:
            await asyncio.wait((self._work,))

    async def _empty_queue(self) -> None:
        try:
            while self._leases or self._queue:
                await self._together(self._next())
        finally:
            self._work = None

    def _next(self) -> list[Waiting]:
        """Return who goes together.

        An era begins by itself: no entry of its batch may be below it.
        """
        found: list[Waiting] = []
        while (line := self._leases or self._queue) and len(found) < self._batch_max:
            alone = isinstance(line[0].wanted, Era)
            if alone and found:
                break
            found.append(line.popleft())
            if alone:
                break
        return found

    async def _together(self, waiting: list[Waiting], turns: int = TURNS) -> None:
        waiting = [w for w in waiting if not w.answer.done()]  # the others gave up
        try:
            if not waiting:
                return
            stored = self._stored
            now = await stored.begin([w.wanted for w in waiting if isinstance(w.wanted, Commit)])
            batch = Batch(stored, self._sql, now)
            answers = [await self._answer(batch, w) for w in waiting]
            await (stored.pass_on() if batch.empty else stored.write(batch))
        except Unavailable as fault:
            if turns > 1 and self._stored.turn_lost:
                log.warning("a batch lost its turn, and takes another", why=fault.message)
                await self._stored.reload()
                await self._together(waiting, turns - 1)
            else:
                await self._failed(waiting, fault)
        except Exception as error:  # noqa: BLE001 (nobody may be left waiting)
            await self._apart(waiting, error)
        else:
            self._succeeded(waiting, answers, batch.done())

    async def _answer(self, batch: Batch, waiting: Waiting) -> Committed | Fault:
        """Work out a commit, as often as something that it needs had to be fetched."""
        while isinstance(found := self._work_out(batch, waiting), Unread):
            await self._stored.fetch(found)
        return found

    def _work_out(self, batch: Batch, waiting: Waiting) -> Committed | Fault | Unread:
        """Return the answer of a commit, or what must be fetched first."""
        wanted = waiting.wanted
        try:
            if isinstance(wanted, Trim):
                batch.trim(wanted.upto, wanted.tokens_before, TRIM)
                return Committed(number=batch.number)
            if isinstance(wanted, Era):
                batch.begin_era(wanted.beyond)
                return Committed(number=batch.number)
            known = self._stored.answer(wanted.token) if wanted.token else b""
            return batch.add(wanted, waiting.context, known)
        except Unread as unread:
            return unread
        except Unavailable:
            raise
        except Fault as fault:
            return fault
        except Exception as error:  # a bug, but this commit's alone
            log.exception("a commit broke")
            return Broken("the data service failed to work this out", detail=repr(error))

    def _succeeded(
        self, waiting: list[Waiting], answers: list[Committed | Fault], news: list[Changed]
    ) -> None:
        self.trouble = ""
        metrics.COMMIT_BATCH.observe(len(waiting))
        done = 0
        for (_, answer, _), what in zip(waiting, answers, strict=True):
            if isinstance(what, Fault):
                metrics.COMMITS.labels(type(what).__name__).inc()
                if not answer.done():
                    answer.set_exception(what)
            else:
                done += 1
                if not answer.done():
                    answer.set_result(what)
        metrics.COMMITS.labels("done").inc(done)
        for changed in news:
            self._news(changed)

    async def _failed(self, waiting: list[Waiting], fault: Fault) -> None:
        """Look again, and say so: nothing of the batch is on disk, or nobody can tell."""
        log.error("a batch of commits failed", size=len(waiting), why=fault.message)
        self.trouble = fault.message
        try:
            await self._stored.reload()
        except Fault as worse:
            self.trouble = worse.message
        metrics.COMMITS.labels(type(fault).__name__).inc(len(waiting))
        for _, answer, _ in waiting:
            if not answer.done():
                answer.set_exception(type(fault)(fault.message, detail=fault.detail))

    async def _apart(self, waiting: list[Waiting], error: Exception) -> None:
        """Try each apart: one of them is poison to the database, and only trying tells which."""
        log.error("a batch of commits broke", size=len(waiting), exc_info=error)
        if len(waiting) > 1:
            await self._stored.reload()
            for one in waiting:
                await self._together([one])
        else:
            await self._failed(waiting, Broken("the database refused this", detail=repr(error)))
