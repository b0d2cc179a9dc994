"""What every data service must do. Subclass a suite and say how to open the service.

DataSuite asks for any service, DurableDataSuite for one that keeps its rows over a restart.
See tests/contract/test_data.py.
"""

from __future__ import annotations

import pytest

from csnode import clock
from csnode.contracts.data import Count, Delete, Give, Hold, Take
from csnode.data.view import View
from csnode.faults import Conflict, Gone
from csnode.model.place import Pod
from csnode.model.stock import Range, Tally
from csnode.model.vm import Vm
from csnode.testing.data_cloud import ALL, Cloud, created, outcome, updated, vm
from csnode.testing.data_feed import FeedRules, busy
from csnode.testing.data_past import PastRules
from csnode.testing.data_refs import ReferenceRules
from csnode.testing.data_rows import RowRules
from csnode.testing.data_stock import StockRules
from csnode.testing.data_view import DurableViewRules, ViewRules
from csnode.types import ZoneId


class DataSuite(RowRules, ReferenceRules, StockRules, FeedRules, ViewRules, PastRules):
    """The rules of csnode.contracts.data, as tests."""


class DurableDataSuite(DataSuite, DurableViewRules):
    """And those of a service that was closed and opened again."""

    async def test_a_restart_loses_nothing(self, cloud: Cloud) -> None:
        await busy(cloud)
        rows = [await cloud.data.find(kind, {}, "", 500) for kind in ALL]
        entries = await cloud.entries()
        await cloud.open()
        assert [await cloud.data.find(kind, {}, "", 500) for kind in ALL] == rows
        assert await cloud.entries() == entries
        assert await cloud.data.check() == ()
        assert await cloud.data.head(ALL) == 84
        assert (await cloud.commit(updated(Vm, "v00", name="x"))).number == 85
        assert (await cloud.store.get(Vm, "v00")).revision == 3

    async def test_a_token_is_known_after_a_restart(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=3, high=9))
        twice = (Count(owner="a", by={"vm": 1}), Take(range="r", owner="a"))
        first = await cloud.commit(*twice, token="t")
        await cloud.open()
        assert await cloud.commit(*twice, token="t") == first
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 1}

    async def test_ranges_go_on_where_they_were(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=3, high=9))
        for owner in "abcd":
            await cloud.commit(Take(range="r", owner=owner))
        await cloud.commit(Give(owner="b"))
        await cloud.open()
        assert (await cloud.commit(Take(range="r", owner="c"))).got == (5,)
        got = [(await cloud.commit(Take(range="r", owner=o))).got[0] for o in "ef"]
        assert got == [4, 7]

    async def test_a_lease_outlives_a_restart(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = 1000.0
        monkeypatch.setattr(clock, "wall_source", lambda: time)
        await cloud.commit(Hold(name="l", holder="a", seconds=6))
        await cloud.open()
        other = Hold(name="l", holder="b", seconds=6)
        assert await outcome(cloud.commit(other)) is Conflict
        renewed = await cloud.commit(Hold(name="l", holder="a", seconds=6, fence=1))
        assert renewed.got == (1,)
        time += 60
        assert (await cloud.commit(other)).got == (2,)

    async def test_numbers_outlive_what_was_trimmed(self, cloud: Cloud) -> None:
        await cloud.open(feed_keep=1)
        await cloud.create(Pod(id="p1", zone=ZoneId(""), name="p"))
        await cloud.commit(created(vm("v1")), created(vm("v2")))
        await cloud.commit(Delete(kind="vm", id="v2"))
        await cloud.turn()
        await cloud.open()
        assert await cloud.data.head(("pod",)) == 1
        assert await cloud.data.head(ALL) == 4
        assert await outcome(cloud.data.feed(2, ALL, 9)) is Gone
        assert (await cloud.data.feed(3, ALL, 9)).upto == 4
        view = View(cloud.store, (Vm, Pod))
        await view.open()
        assert (view.size(Vm), view.size(Pod), view.number) == (1, 1, 4)
        view.close()
