"""Views of the new version, while one of two data processes on one database is of the old one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from csnode.bus.local import LocalBus
from csnode.contracts.data import Commit, Committed, Data, Feed, Mark, Met, Past, Row
from csnode.data.store import Store
from csnode.data.view import View
from csnode.directory.alone import AloneDirectory
from csnode.faults import Invalid, Unavailable
from csnode.model.alert import Alert
from csnode.model.place import Zone
from csnode.testing.data_cloud import created
from roles.data.config import DataConfig
from tests.contract.data_writer import playing

NEW = Alert.kind  # migration 0003 brought it


class Either(Data):
    """Asks the real data service; while `old`, as a process that does not know of alerts."""

    def __init__(self, real: Data) -> None:
        self.real, self.old = real, False

    def _check(self, *kinds: str) -> None:
        if self.old and NEW in kinds:
            raise Invalid(f"no kind of row is called {NEW!r} where the data role runs")

    async def commit(self, commit: Commit) -> Committed:
        return await self.real.commit(commit)

    async def meet(self, mark: Mark | None) -> Met:
        return await self.real.meet(mark)

    async def get(self, kind: str, id: str) -> Row:
        self._check(kind)
        return await self.real.get(kind, id)

    async def history(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        return await self.real.history(id, trace, limit)

    async def check(self) -> tuple[str, ...]:
        return await self.real.check()

    async def find(
        self, kind: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        self._check(kind)
        return await self.real.find(kind, where, after, limit)

    async def head(self, kinds: tuple[str, ...]) -> int:
        self._check(*kinds)
        return await self.real.head(kinds)

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        self._check(*kinds)
        return await self.real.heads(kinds)

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        self._check(*kinds)
        return await self.real.feed(after, kinds, limit)


class Pair:
    def __init__(self, data: Data) -> None:
        self.asked = Either(data)
        bus = LocalBus(AloneDirectory())
        bus.serve(self.asked)
        self.view = View(Store(bus, "api", "n"), (Zone, Alert))

    async def write(self, number: int) -> None:
        """A row of each kind, by whoever is new, in commits that no event tells of."""
        zone, alert = f"z{number}", f"a{number}"
        told = Alert(id=alert, type=7, name="host", text="it is silent")
        await self.asked.real.commit(Commit(changes=(created(told),)))
        await self.asked.real.commit(Commit(changes=(created(Zone(id=zone, name=zone)),)))

    def seen(self) -> tuple[set[str], set[str]]:
        view = self.view
        return {row.id for row in view.all(Zone)}, {row.id for row in view.all(Alert)}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=str(tmp_path / "db"), inline=True)):
        pair = Pair(bus.ask(Data))
        yield pair
        pair.view.close()


async def test_rows_of_a_new_kind_are_seen_although_the_old_one_was_asked_meanwhile(
    pair: Pair,
) -> None:
    await pair.view.open()
    await pair.write(1)
    pair.asked.old = True
    await pair.view.fresh()
    assert pair.seen() == ({"z1"}, set())
    pair.asked.old = False
    await pair.write(2)
    await pair.view.fresh()
    assert pair.seen() == ({"z1", "z2"}, {"a1", "a2"})


async def test_rows_of_a_new_kind_are_seen_although_the_old_one_was_asked_first(
    pair: Pair,
) -> None:
    await pair.write(1)
    pair.asked.old = True
    await pair.view.open()
    await pair.write(2)
    await pair.view.fresh()
    assert pair.seen() == ({"z1", "z2"}, set())
    pair.asked.old = False
    await pair.view.fresh()
    assert pair.seen() == ({"z1", "z2"}, {"a1", "a2"})


async def test_what_the_old_one_cannot_tell_is_not_taken_for_lost(pair: Pair) -> None:
    await pair.write(1)
    await pair.view.open()
    pair.asked.old = True
    for _ in range(3):
        with suppress(Unavailable):
            await pair.view.fresh()
    assert pair.seen() == ({"z1"}, {"a1"})
