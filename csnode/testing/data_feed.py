"""The rules of the feed: every change once, in order, for whoever follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from csnode.bus.event import Changed, Entry
from csnode.clock import now
from csnode.contracts.data import Delete
from csnode.data.view import View
from csnode.faults import Gone, Invalid
from csnode.model.place import Pod, Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import ALL, Cloud, Served, outcome, updated, vm
from csnode.types import ZoneId

PATIENCE_S = 10.0


@asynccontextmanager
async def following(cloud: Cloud) -> AsyncGenerator[View]:
    """Yield a view of machines, zones and locks."""
    view = View(cloud.store, (Vm, Zone, Lock))
    await view.open()
    try:
        yield view
    finally:
        view.close()


async def caught_up(cloud: Cloud, view: View) -> None:
    """Wait for events alone to bring the view up to date: nobody asks it to be fresh."""
    head = await cloud.data.head(tuple(view))
    deadline = now() + PATIENCE_S
    while view.number < head:
        assert now() < deadline, f"the view is at {view.number}, the service at {head}"
        await asyncio.sleep(0.001)


async def busy(cloud: Cloud) -> None:
    """Make some 60 commits of many kinds, several at once, some of which fail."""
    for turn in range(6):
        await asyncio.gather(
            *(cloud.create(vm(f"v{turn}{n}"), Lock(id=f"vm:{turn}{n}", job="j")) for n in range(4)),
            *(cloud.commit(updated(Vm, f"v{turn}{n}", name=f"{turn}")) for n in range(4)),
            cloud.create(Zone(id=f"z{turn}", name=f"z{turn}")),
            cloud.commit(Delete(kind="lock", id=f"vm:{turn}1")),
            cloud.commit(updated(Zone, "absent", name="x")),
            return_exceptions=True,
        )


class FeedRules(Served):
    """Whoever reads the feed misses nothing; whoever follows events finds out what was lost."""

    async def test_the_feed_has_every_entry_once_in_order(self, cloud: Cloud) -> None:
        await busy(cloud)
        entries = await cloud.entries()
        assert [e.number for _, e in entries] == list(range(1, 85))
        assert await cloud.data.head(ALL) == 84
        rows: dict[tuple[str, str], Entry] = {}
        for kind, entry in entries:
            before = rows.get((kind, entry.id))
            assert entry.revision == (before.revision + 1 if before else 1)
            rows[kind, entry.id] = entry
        for kind in ("vm", "zone", "lock"):
            found = {r.id: r.row for r in await cloud.data.find(kind, {}, "", 500)}
            assert found == {id: e.row for (k, id), e in rows.items() if k == kind and e.row}

    async def test_the_feed_of_some_kinds_has_only_those(self, cloud: Cloud) -> None:
        await busy(cloud)
        feed = await cloud.data.feed(0, ("zone",), 500)
        assert [kind for kind, _ in feed.entries] == ["zone"] * 6
        assert feed.upto == 84
        assert (await cloud.data.feed(0, ("pod",), 500)).entries == ()
        assert (await cloud.data.feed(84, ALL, 500)).entries == ()
        part = await cloud.data.feed(0, ("zone",), 2)
        assert part.upto == part.entries[-1][1].number
        assert await outcome(cloud.data.feed(0, ("unheard-of",), 1)) is Invalid
        assert await outcome(cloud.data.head(("unheard-of",))) is Invalid

    async def test_events_say_what_came_before_them(self, cloud: Cloud) -> None:
        heard: dict[str, list[Changed]] = {"vm": [], "zone": [], "lock": []}
        cloud.bus.subscribe(Changed, lambda event: heard[event.kind].append(event))
        await busy(cloud)
        await asyncio.sleep(0)
        for kind, events in heard.items():
            last = 0
            for event in events:
                assert event.before == last
                numbers = [e.number for e in event.entries]
                assert numbers == sorted(numbers)
                last = numbers[-1]
            fed = (await cloud.data.feed(0, (kind,), 500)).entries
            assert [entry for _, entry in fed] == [e for event in events for e in event.entries]

    async def test_a_view_follows(self, cloud: Cloud) -> None:
        await busy(cloud)
        async with following(cloud) as view:
            await busy(cloud)
            await cloud.create(vm("mine"))
            await view.fresh()
            assert view.get(Vm, "mine").revision == 1
            assert sorted(view.all(Vm), key=lambda v: v.id) == await cloud.store.find(Vm)
            assert sorted(view.all(Lock), key=lambda v: v.id) == await cloud.store.find(Lock)

    async def test_a_view_catches_up_after_lost_events(self, cloud: Cloud) -> None:
        async with following(cloud) as view:
            cloud.bus.deaf = True
            await busy(cloud)
            await asyncio.sleep(0)
            assert view.size(Vm) == 0
            cloud.bus.deaf = False
            await cloud.commit(updated(Vm, "v00", name="late"))  # its event shows the gap
            await caught_up(cloud, view)
            assert sorted(view.all(Vm), key=lambda v: v.id) == await cloud.store.find(Vm)
            await view.fresh()
            assert sorted(view.all(Lock), key=lambda v: v.id) == await cloud.store.find(Lock)

    async def test_heads_show_a_view_the_tail_it_lost(self, cloud: Cloud) -> None:
        async with following(cloud) as view:
            cloud.bus.deaf = True
            await busy(cloud)
            cloud.bus.deaf = False
            await cloud.turn()
            await caught_up(cloud, view)
            assert sorted(view.all(Vm), key=lambda v: v.id) == await cloud.store.find(Vm)
            assert view.size(Zone) == 6

    async def test_a_reader_too_far_behind_starts_again(self, cloud: Cloud) -> None:
        await cloud.open(feed_keep=5)
        await cloud.create(Pod(id="p1", zone=ZoneId(""), name="p"), vm("v0"))
        async with following(cloud) as view:
            cloud.bus.deaf = True
            await cloud.commit(Delete(kind="vm", id="v0"))
            await busy(cloud)
            await cloud.turn()
            cloud.bus.deaf = False
            head = await cloud.data.head(ALL)
            assert await outcome(cloud.data.feed(head - 6, ALL, 9)) is Gone
            assert len((await cloud.data.feed(head - 5, ALL, 9)).entries) == 5
            assert await cloud.data.head(("pod",)) == 1  # known, though its entry went
            await cloud.turn()
            await caught_up(cloud, view)
            assert sorted(view.all(Vm), key=lambda v: v.id) == await cloud.store.find(Vm)
            assert view.size(Zone) == 6

    async def test_a_view_of_kinds_that_rest_opens_though_the_feed_begins_past_them(
        self, cloud: Cloud
    ) -> None:
        """Others have written so much since that the feed does not reach back to their heads."""
        await cloud.open(feed_keep=5)
        await cloud.create(Pod(id="p1", zone=ZoneId(""), name="p"))
        head = await cloud.data.head(("pod",))
        await busy(cloud)
        await cloud.turn()
        assert await outcome(cloud.data.feed(head, ALL, 9)) is Gone
        feed = await cloud.data.feed(head, ("pod",), 9)
        assert (feed.entries, feed.upto) == ((), await cloud.data.head(ALL))
        assert await outcome(cloud.data.feed(head - 1, ("pod",), 9)) is Gone
        view = View(cloud.store, (Pod,))
        async with asyncio.timeout(PATIENCE_S):
            await view.open()
        assert [pod.id for pod in view.all(Pod)] == ["p1"]
        view.close()
