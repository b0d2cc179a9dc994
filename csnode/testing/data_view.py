"""The rules of views: they follow and are fresh, however little they hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from csnode.bus.event import Changed
from csnode.clock import now
from csnode.context import acting, first_after
from csnode.contracts.data import Delete
from csnode.data import follower
from csnode.data.view import View
from csnode.faults import Outdated
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import Cloud, Served, created, outcome, updated, vm
from csnode.testing.data_feed import PATIENCE_S, busy, following
from csnode.testing.patience import Patience


async def until(fact: Callable[[], bool], what: str) -> None:
    """Wait for the fact."""
    patience = Patience(PATIENCE_S)
    while not fact():
        assert not patience.over, f"not within {patience}: {what}"
        await asyncio.sleep(0.001)


async def is_right(cloud: Cloud, view: View) -> None:
    """Assert that the view has the rows that the service has."""
    for kind in (Vm, Zone, Lock):
        assert sorted(view.all(kind), key=lambda row: row.id) == await cloud.store.find(kind)


class ViewRules(Served):
    """Events make a view fast; that it is right does not depend on them."""

    async def test_without_any_event_a_view_is_fresh_when_asked(self, cloud: Cloud) -> None:
        cloud.bus.deaf = True
        async with following(cloud) as view:
            began = now()
            for n in range(20):
                await cloud.create(vm(f"v{n}"))
                await view.fresh()
                assert view.size(Vm) == n + 1
            assert now() - began < 20 * follower.EVENTS_S  # it does not wait for them each time

    async def test_without_any_event_a_view_that_nobody_asks_follows(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follower, "QUIET_S", 0.02)
        cloud.bus.deaf = True
        async with following(cloud) as view:
            await cloud.create(vm("v1"))
            await until(lambda: view.size(Vm) == 1, "the view looked by itself")
            await cloud.create(vm("v2"))
            await until(lambda: view.size(Vm) == 2, "the view looked again")
        await cloud.create(vm("later"))
        before = asyncio.all_tasks()
        await asyncio.sleep(0.1)
        assert view.size(Vm) == 2  # it is closed
        assert len(asyncio.all_tasks()) <= len(before)

    async def test_one_lost_event_beside_one_heard_is_missed(self, cloud: Cloud) -> None:
        """The machine's event is lost; the lock's, of the same commit and after it, is heard."""
        async with following(cloud) as view:
            cloud.bus.lost = {"vm"}
            heard: list[Changed] = []
            cloud.bus.subscribe(Changed, heard.append, "lock")
            await cloud.commit(created(vm("v1")), created(Lock(id="vm:v1", job="j")))
            await until(lambda: len(heard) == 1, "the lock is heard of")
            assert view.size(Lock) == 0  # it would be seen without its machine
            await view.fresh()
            assert (view.size(Vm), view.size(Lock)) == (1, 1)
            done = await cloud.commit(updated(Vm, "v1", name="x"), created(Lock(id="l", job="j")))
            await until(lambda: len(heard) == 2, "the lock is heard of")
            await view.reach(done.number)
            assert (view.get(Vm, "v1").name, view.size(Lock)) == ("x", 2)

    @pytest.mark.parametrize("old", [False, True])
    async def test_what_was_written_at_once_is_seen_at_once(self, cloud: Cloud, old: bool) -> None:
        """Also when an event was lost before, so that the feed is read meanwhile; also from a data
        service whose events do not say what was written at once.
        """
        cloud.bus.old = old
        async with following(cloud) as view:
            for lost in ("vm", "lock"):
                cloud.bus.lost = {lost}
                await cloud.commit(created(vm(f"{lost}-0")), created(Lock(id=f"{lost}-0", job="j")))
                cloud.bus.lost = set()
                name = f"{lost}-1"
                writing = asyncio.create_task(
                    cloud.commit(created(vm(name)), created(Lock(id=name, job="j")))
                )
                patience = Patience(PATIENCE_S)
                while view.maybe(Vm, name) is None:
                    assert view.maybe(Lock, name) is None
                    assert not patience.over, f"not within {patience}"
                    await asyncio.sleep(0)
                assert view.maybe(Lock, name) is not None
                await writing

    async def test_a_kind_that_never_changes_holds_nothing_up(self, cloud: Cloud) -> None:
        """A gap in one kind costs no more than what was missed: others are known to be quiet."""
        await cloud.open(feed_keep=30)
        await cloud.create(Zone(id="z", name="z"))
        async with following(cloud) as view:
            for n in range(50):
                await cloud.create(vm(f"v{n}"))
            await cloud.turn()
            await view.fresh()
            zone = view.get(Zone, "z")
            cloud.bus.deaf = True
            await cloud.create(vm("missed"))
            cloud.bus.deaf = False
            await cloud.create(vm("heard"))
            await until(lambda: view.size(Vm) == 52, "it caught up")
            assert view.get(Zone, "z") is zone  # nothing was read again as a whole


class DurableViewRules(Served):
    """And when the service is another one than before."""

    async def test_a_view_survives_a_restart(self, cloud: Cloud) -> None:
        await busy(cloud)
        async with following(cloud) as view:
            await cloud.restart()
            await cloud.create(vm("after"))
            await view.fresh()
            await is_right(cloud, view)

    @pytest.mark.parametrize("way", ["asked", "heads", "quiet"])
    async def test_a_view_notices_an_older_database(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        """Somebody put a backup in its place."""
        if way == "quiet":
            monkeypatch.setattr(follower, "QUIET_S", 0.02)
        await cloud.create(vm("v1"), vm("v2"), Zone(id="z", name="z"))
        await cloud.close()
        self.keep(cloud.state)
        await cloud.restart()
        async with following(cloud) as view:
            await busy(cloud)
            await cloud.commit(updated(Vm, "v1", name="x"), Delete(kind="vm", id="v2"))
            await view.fresh()
            await cloud.close()
            self.bring_back(cloud.state)
            cloud.bus.deaf = way != "heads"
            with capture_logs() as lines:
                await cloud.restart()
                if way == "asked":
                    await view.fresh()
                elif way == "heads":
                    await cloud.turn()
                await until(lambda: view.size(Vm) == 2, "everything was read again")
                await until(lambda: view.number == 3, "it counts from there")
            assert any("older database" in line["event"] for line in lines)
            await is_right(cloud, view)
            assert view.get(Vm, "v1").name == "v1"
            await cloud.commit(updated(Vm, "v1", name="y"), created(Lock(id="l", job="j")))
            await view.fresh()
            await is_right(cloud, view)

    async def test_a_mark_shows_that_an_older_database_was_put_back(self, cloud: Cloud) -> None:
        """Its numbers go on above all that were given, and orders from before are refused."""
        await cloud.create(vm("v1"), Zone(id="z", name="z"))
        await cloud.close()
        self.keep(cloud.state)
        await cloud.restart()
        async with following(cloud) as view:
            await busy(cloud)
            before = await cloud.data.meet(None)
            fence = before.mark.number
            lie = replace(before.mark, number=fence + 1000)
            assert (await cloud.data.meet(lie)).mark.number == fence
            await cloud.close()
            self.bring_back(cloud.state)
            await cloud.restart()
            first = await cloud.data.meet(lie)
            assert (first.cloud, first.mark.number) == (before.cloud, 2)
            after = await cloud.data.meet(before.mark)
            assert after.mark.number == first_after(fence)
            assert (await cloud.data.meet(before.mark)).mark.number == after.mark.number
            renamed = updated(Vm, "v1", name="late")
            with acting(fence=fence):
                assert await outcome(cloud.commit(renamed)) is Outdated
            with acting(fence=after.mark.number):
                number = (await cloud.commit(updated(Vm, "v1", name="new"))).number
            assert number == after.mark.number + 1
            await view.fresh()
            assert view.get(Vm, "v1").name == "new"
            await is_right(cloud, view)
            assert await cloud.data.check() == ()
            await cloud.open()
            assert (await cloud.data.meet(before.mark)).mark.number == number
