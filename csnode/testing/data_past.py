"""The rules of history and of the service's own books."""

from __future__ import annotations

import asyncio

import pytest

from csnode import clock
from csnode.bus.event import Changed
from csnode.context import acting, current
from csnode.contracts.data import Commit, Delete, Hold
from csnode.faults import Invalid
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import Cloud, Served, created, outcome, updated, vm
from csnode.testing.data_feed import busy
from csnode.types import Power

ONE, TWO = "1" * 32, "2" * 32


class PastRules(Served):
    """Who committed what, when and why is known as far back as the feed goes."""

    async def test_history_has_every_entry_of_a_row_in_order(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await busy(cloud)
        date = round(clock.wall()) + 1800.25
        monkeypatch.setattr(clock, "wall_source", lambda: date)
        with acting(trace=ONE):
            await cloud.store.acting_as("compute").observe(Vm, "v00", power=Power.ON)
        with acting(trace=TWO, caller="api@elsewhere"):
            await cloud.store.commit(Commit(changes=(Delete(kind="vm", id="v00"),)))
        past = await cloud.data.history("v00", "", 100)
        fed = [(kind, entry) for kind, entry in await cloud.entries() if entry.id == "v00"]
        assert [(p.kind, p.entry) for p in past] == fed
        assert [(p.trace, p.by) for p in past[-2:]] == [
            (ONE, "compute@node1"),
            (TWO, "api@node1"),  # who commits says so, whoever asked for it
        ]
        one, two = (p.at for p in past[-2:])
        assert one == date
        assert one <= two < one + 60  # it never goes back, nor stands still if the machine's does
        assert await cloud.data.history("v00", "", 2) == past[-2:]
        assert await cloud.data.history("unheard-of", "", 9) == ()

    async def test_a_trace_is_found_in_every_kind_it_touched(self, cloud: Cloud) -> None:
        await busy(cloud)

        async def traced(trace: str, name: str) -> None:
            with acting(trace=trace):
                change = cloud.store.change()
                change.create(Zone(id=name, name=name))
                change.create(Lock(id=f"vm:{name}", job="j"))
                await change.commit()
                await cloud.commit(updated(Zone, name, name=f"{name}!"))

        await asyncio.gather(traced(ONE, "a"), busy(cloud), traced(TWO, "b"))
        for trace, name in ((ONE, "a"), (TWO, "b")):
            past = await cloud.data.history("", trace, 100)
            touched = [(p.kind, p.entry.id, p.entry.revision) for p in past]
            assert touched == [("zone", name, 1), ("lock", f"vm:{name}", 1), ("zone", name, 2)]
            assert {p.trace for p in past} == {trace}
            numbers = [p.entry.number for p in past]
            assert numbers == sorted(numbers)

    async def test_a_lease_is_committed_by_its_holder_in_nobodys_trace(self, cloud: Cloud) -> None:
        with acting(trace=ONE, caller="api@node1"):
            async with cloud.store.hold("l", 30):
                pass
            await cloud.commit(Hold(name="m", holder="x", seconds=1))
        assert {(p.by, p.trace) for p in await cloud.data.history("l", "", 9)} == {("node1", "")}
        assert [p.by for p in await cloud.data.history("m", "", 9)] == ["api@node1"]

    async def test_history_is_asked_for_one_thing(self, cloud: Cloud) -> None:
        for asked in (("", "", 1), ("a", ONE, 1), ("a", "", 0)):
            assert await outcome(cloud.data.history(*asked)) is Invalid

    async def test_a_reaction_to_an_event_is_part_of_no_call(self, cloud: Cloud) -> None:
        """A batch has many callers: its news belong to none of them."""
        heard: list[str] = []
        cloud.bus.subscribe(Changed, lambda _: heard.append(current().trace))
        with acting(trace=ONE):
            await asyncio.create_task(cloud.create(vm("v1")))
        await asyncio.sleep(0)
        assert heard == [""]

    async def test_the_books_of_a_busy_service_are_in_order(self, cloud: Cloud) -> None:
        assert await cloud.data.check() == ()

        async def checked() -> None:
            for _ in range(5):
                assert await cloud.data.check() == ()
                await asyncio.sleep(0)

        await asyncio.gather(busy(cloud), checked())
        await cloud.commit(*(Delete(kind="vm", id=f"v0{n}") for n in range(4)))
        await cloud.commit(created(vm("v00")))
        assert await cloud.data.check() == ()

    async def test_the_books_are_in_order_while_the_feed_is_trimmed(self, cloud: Cloud) -> None:
        await cloud.open(feed_keep=5)
        await busy(cloud)
        _, *found = await asyncio.gather(cloud.turn(), *(cloud.data.check() for _ in range(20)))
        assert set(found) == {()}
        await cloud.commit(Delete(kind="vm", id="v00"))
        assert await cloud.data.check() == ()
