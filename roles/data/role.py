"""The data role: every object in the cloud, and the numbered feed of their changes.

Serves Data. Writes taken, tally and lease rows. Owns the database: one process to a
file of SQLite's, any number to PostgreSQL. Publishes Changed after every batch of commits, and
Heads every second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from csnode.bus.event import Heads
from csnode.bus.local import LocalBus
from csnode.clock import now
from csnode.context import current, era_of
from csnode.contracts.data import Commit, Committed, Data, Feed, Mark, Met, Past, Row
from csnode.data.alarm import MANAGEMENT, alarm_cloud
from csnode.directory.directory import Member
from csnode.faults import Fault, Invalid, Refused
from csnode.log import logger
from csnode.role import Opened, Role, every
from roles.data import place
from roles.data.books import Checker
from roles.data.config import DataConfig
from roles.data.history import History
from roles.data.permit import Permit
from roles.data.reader import Reader
from roles.data.relay import relaying
from roles.data.strangers import rivals, strangers, yields_to
from roles.data.transfer import change_schema, move
from roles.data.writer import Era, Writer

TOKEN_KEPT_S = 86400.0
SETTLE_S = 30.0  # after opening: those of our cloud have not all been heard yet
LISTEN_S = 0.5  # who is there answers a newcomer sooner
WORD_MAX = 512  # characters
log = logger("data")


class DataRole(Role[DataConfig], Data):
    """One in a cloud if the database is SQLite, else any number: they write by turns."""

    name = "data"
    needs_data = False  # it is what the others wait for
    _warned = ""  # of the database's standbys
    move = staticmethod(move)  # `csnode data` finds them here
    change_schema = staticmethod(change_schema)

    async def opened(self) -> Opened:
        self.yielded = ""  # to whom, if another database has the cluster on its side
        self._strangers: set[str] = set()
        async with place.opened(self.config, self.node.state) as found:
            database, stored, schema, self.identity = found
            self.cloud = self.identity.id
            tables, kinds, statements = schema
            self.database, self.stored = database, stored
            self.reader = Reader(database, self.stored, tables)
            self.permit = Permit(self.reader, kinds)
            self.writer = Writer(
                database,
                self.stored,
                statements,
                self.bus.publish,
                self.config.batch_max,
            )
            self.past = History(database, tables)
            self.checker = Checker(database, self.stored, self.writer, kinds)
            if self.identity.new and not isinstance(self.bus, LocalBus):
                await self._listen()
            self.bus.serve(self)
            self._opened = now()
            streams, since = self.bus.streams, self.past.since
            try:
                async with relaying(self.store, streams, since, tuple(kinds)) as self.relay:
                    yield
            finally:
                self.bus.retire(self)
                await self.writer.idle()

    async def drain(self) -> None:
        await self.writer.idle()

    @staticmethod
    async def examined(config: DataConfig) -> list[dict[str, str]]:
        """Look at the database for `csnode doctor`: good, lack or warn of a finding, and remedy."""
        return await place.examined(config)

    def warnings(self) -> Sequence[str]:
        return (self._warned,) if self._warned else ()

    def troubles(self) -> Sequence[str]:
        about = (self.writer.trouble or self.database.trouble, self.relay.trouble, self.yielded)
        return tuple(t for t in about if t)

    async def _listen(self) -> None:
        """Listen first: a database that no cloud knows yet is not offered where there is another.

        Raises Refused if there is: whoever started us meant something else.
        """
        until = now() + LISTEN_S
        while now() < until:
            await asyncio.sleep(LISTEN_S / 10)
            if found := rivals(self.bus.directory.members(), self.cloud):
                raise Refused(
                    f"{self.database.path} is new, and {self._said(found[0])}; stop that one, name"
                    " its database in [data], or give this cloud another name ([node] cluster)"
                )

    def _said(self, rival: Member) -> str:
        at = f" at {rival.address}" if rival.address else ""
        return f"{rival.node}{at} keeps another database of the cluster {self.node.cluster}"

    @every(seconds=1.0)
    async def look_for_rivals(self) -> None:
        """Look for rivals: of two databases under a name, one is a mistake, and answers nobody."""
        members = self.bus.directory.members()
        for stranger in strangers(members, self.cloud):
            if stranger.node not in self._strangers:
                self._strangers.add(stranger.node)
                log.error("another database", ours=self.cloud, theirs=stranger.cloud,
                          why=self._said(stranger))  # fmt: skip
        rival = yields_to(members, self.node.node_id, self.cloud)
        if rival is not None and not self.yielded and now() > self._opened + SETTLE_S:
            self.bus.retire(self)
            self.yielded = (
                f"{self._said(rival)}; this one ({self.database.path}) is not served until it is"
                " started again"
            )
            log.error("this database is not served", why=self.yielded)

    async def commit(self, commit: Commit) -> Committed:
        context = current()
        for word in (commit.by, commit.token, context.trace, context.caller):
            if len(word) > WORD_MAX or not word.isprintable():  # they stand in the history
                raise Invalid(f"a name of a commit is no word: {word[:WORD_MAX]!r}")
        await self.permit.commit(commit)
        return await self.writer.put(commit)

    async def meet(self, mark: Mark | None) -> Met:
        self.permit.numbers(())
        last, _ = await self.stored.marks()
        if mark is not None and self.identity.proves(mark):
            await self.stored.time()  # there is a reading of our clock to judge it by
            self.stored.hear(mark.at)
            number = mark.number
            same = era_of(number) == era_of(last)
            if number > last or (same and await self.stored.lost(number)):
                log.warning(
                    "an earlier state of the database was put back; its numbers begin a new era",
                    had=number, has=last,
                )  # fmt: skip
                last = (await self.writer.put(Era(number))).number
        return Met(cloud=self.identity.id, mark=self.identity.mark(last, await self.stored.time()))

    async def get(self, kind: str, id: str) -> Row:
        return await self.permit.get(kind, id)

    async def find(
        self, kind: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        return await self.permit.find(kind, where, after, limit)

    async def head(self, kinds: tuple[str, ...]) -> int:
        self.permit.numbers(kinds)
        return max(await self._numbers(kinds), default=0)

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        self.permit.numbers(kinds)
        return await self._numbers(kinds)

    async def _numbers(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        names = [self.stored.kind(name).name for name in kinds]
        heads = await self.stored.known_heads()
        return tuple(heads.get(name, 0) for name in names)

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        return await self.permit.feed(after, kinds, limit)

    async def history(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        return self.permit.history(trace, await self.past.read(id, trace, limit))

    async def check(self) -> tuple[str, ...]:
        return await self.checker.findings()

    @every(seconds=1.0)
    async def show_heads(self) -> None:
        """Show the heads: a reader whose own numbers are lower has missed the last events."""
        try:
            if heads := await self.stored.known_heads():
                self.bus.publish(Heads(numbers=dict(heads)))
        except Fault as fault:  # `troubles` says so
            log.info("cannot read the heads now", why=fault.message)

    @every(seconds=60.0)
    async def forget(self) -> None:
        """Forget what is old: feed and tokens need not reach back for ever."""
        try:
            await self.writer.trim(self.config.feed_keep, await self.stored.time() - TOKEN_KEPT_S)
        except Fault as fault:  # `troubles` says so until a batch succeeds
            log.info("cannot trim now", why=fault.message)

    @every(seconds=10.0)
    async def look_at_standbys(self) -> None:
        """Look at the standbys: only a synchronous one has what was acknowledged once promoted."""
        try:
            found = await self.database.standbys()
        except Fault as fault:  # `troubles` says so
            log.info("cannot look at the standbys now", why=fault.message)
            return
        known, self._warned = self._warned, found
        if found and not known:
            await alarm_cloud(self.store, MANAGEMENT, "standbys", found)
