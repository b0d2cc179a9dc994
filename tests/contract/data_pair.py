"""Two data processes as one service: reads go to each in turn, and so do bursts of commits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

from csnode.bus.bus import Bus
from csnode.bus.event import Event
from csnode.bus.local import LocalBus
from csnode.contracts.data import Commit, Committed, Data, Feed, Mark, Met, Past, Row
from csnode.directory.alone import AloneDirectory
from csnode.testing.data_cloud import Turn
from roles.data.config import DataConfig
from tests.contract.data_writer import playing


class Ears(LocalBus):
    """One process's own bus; its events are heard on the common one."""

    def __init__(self, common: Bus) -> None:
        super().__init__(AloneDirectory())
        self._common = common

    def publish(self, event: Event) -> None:
        super().publish(event)
        self._common.publish(event)


class Pair(Data):
    """Commits that are under way together go to one of them, so that their order is known."""

    def __init__(self, *both: Data) -> None:
        self._turns, self._under_way = cycle(both), 0
        self._commits = next(self._turns)

    async def commit(self, commit: Commit) -> Committed:
        if not self._under_way:
            self._commits = next(self._turns)
        self._under_way += 1
        try:
            return await self._commits.commit(commit)
        finally:
            self._under_way -= 1

    async def meet(self, mark: Mark | None) -> Met:
        return await next(self._turns).meet(mark)

    async def get(self, kind: str, id: str) -> Row:
        return await next(self._turns).get(kind, id)

    async def find(
        self, kind: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        return await next(self._turns).find(kind, where, after, limit)

    async def head(self, kinds: tuple[str, ...]) -> int:
        return await next(self._turns).head(kinds)

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        return await next(self._turns).heads(kinds)

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        return await next(self._turns).feed(after, kinds, limit)

    async def history(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        return await next(self._turns).history(id, trace, limit)

    async def check(self) -> tuple[str, ...]:
        return await next(self._turns).check()


@asynccontextmanager
async def playing_twice(bus: Bus, config: DataConfig) -> AsyncGenerator[Turn]:
    """Two data roles on one database, served on that bus as one."""
    one, other = Ears(bus), Ears(bus)
    async with playing(one, config) as first, playing(other, config) as second:
        pair = Pair(one.ask(Data), other.ask(Data))

        async def turn() -> None:
            await first()
            await second()

        bus.serve(pair)
        try:
            yield turn
        finally:
            bus.retire(pair)
