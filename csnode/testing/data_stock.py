"""The rules of what is scarce: ranges, tallies, leases; and of tokens."""

from __future__ import annotations

import asyncio

import pytest

from csnode import clock
from csnode.contracts.data import Count, Create, Delete, Give, Hold, Take
from csnode.data.rows import encoded
from csnode.faults import Conflict, Denied, Full, Invalid, NotFound, Stale
from csnode.model.network import Nic
from csnode.model.stock import Lease, Range, Taken, Tally
from csnode.model.vm import Vm
from csnode.testing.data_cloud import (
    Cloud,
    Served,
    created,
    nic,
    outcome,
    outcomes,
    updated,
    vm,
)


class StockRules(Served):
    """Nothing has two owners, no limit is raced past, and no lease has two holders."""

    # -- ranges ----------------------------------------------------------------------------

    async def test_each_takes_the_lowest_free_value_and_no_two_the_same(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=5, high=44))

        async def take(owner: int) -> int | str:
            try:
                return (await cloud.commit(Take(range="r", owner=f"o{owner}"))).got[0]
            except Full as full:
                return full.message

        got = await asyncio.gather(*map(take, range(50)))
        assert got == [*range(5, 45), *["nothing of the range r is free"] * 10]
        assert await take(7) == 12  # its own again
        assert len(await cloud.store.find(Taken, range="r")) == 40

    async def test_what_is_given_back_is_taken_again_lowest_first(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=0, high=9), Range(id="s", low=0, high=9))
        for owner in "abcd":
            await cloud.commit(Take(range="r", owner=owner), Take(range="s", owner=owner))
        await cloud.commit(Give(owner="c"), Give(owner="b", range="r"), Give(owner="nobody"))
        got = await asyncio.gather(
            *(cloud.commit(Take(range=r, owner=o)) for r in "rs" for o in "ef")
        )
        assert [g.got for g in got] == [(1,), (2,), (2,), (4,)]
        both = (cloud.commit(Give(owner="a")), cloud.commit(Take(range="r", owner="g")))
        assert (await asyncio.gather(*both))[1].got == (0,)

    async def test_a_failed_commit_takes_nothing(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=0, high=1))
        take = Take(range="r", owner="a")
        works = (
            cloud.commit(take, updated(Vm, "absent", name="x")),
            cloud.commit(Take(range="r", owner="b")),
            cloud.commit(Give(owner="b"), updated(Vm, "absent", name="x")),
            cloud.commit(Take(range="r", owner="c")),
        )
        assert await outcomes(*works) == [NotFound, None, NotFound, None]
        owners = {t.owner: t.value for t in await cloud.store.find(Taken)}
        assert owners == {"b": 0, "c": 1}

    async def test_a_taken_value_is_in_the_row_from_its_first_entry_on(self, cloud: Cloud) -> None:
        low = 0x0A010102  # 10.1.1.2
        await cloud.create(
            Range(id="guest:n1", low=low, high=low + 9, form="ipv4"), Range(id="n", low=7, high=9)
        )
        change = cloud.store.change()
        row = change.create(nic("c1"))
        machine = change.create(vm("v1"))
        change.take("guest:n1", "c1", into=(row, "address"))
        change.take("n", "v1", into=(machine, "number"))
        assert (await change.commit()).got == (low, 7)
        made = await cloud.store.get(Nic, "c1")
        assert (made.address, made.revision) == ("10.1.1.2", 1)
        assert (await cloud.store.get(Vm, "v1")).number == 7
        assert [e.revision for kind, e in await cloud.entries() if kind == "nic"] == [1]
        await cloud.create(nic("c2"))
        await cloud.commit(
            Take(range="guest:n1", owner="c2", kind="nic", id="c2", column="address")
        )
        later = await cloud.store.get(Nic, "c2")
        assert (later.address, later.revision) == ("10.1.1.3", 2)

    async def test_a_wish_is_that_value_or_a_conflict(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=0, high=9))

        async def wish(owner: str, value: int) -> tuple[int, ...]:
            return (await cloud.commit(Take(range="r", owner=owner, wish=value))).got

        assert await wish("a", 1) == (1,)
        assert await wish("a", 1) == (1,)
        assert await outcome(wish("b", 1)) is Conflict
        assert await outcome(wish("a", 2)) is Conflict
        assert await outcome(wish("b", 10)) is Invalid
        got = [(await cloud.commit(Take(range="r", owner=o))).got[0] for o in "xyz"]
        assert got == [0, 2, 3]

    async def test_a_wrong_take_is_refused(self, cloud: Cloud) -> None:
        await cloud.create(
            vm("v1"), Range(id="r", low=0, high=9), Range(id="odd", low=0, high=9, form="hex")
        )

        def into(column: str, range: str = "r", id: str = "v1") -> Take:
            return Take(range=range, owner="a", kind="vm", id=id, column=column)

        assert await outcome(cloud.commit(Take(range="absent", owner="a"))) is NotFound
        assert await outcome(cloud.commit(into("number", id="v2"))) is NotFound
        assert await outcome(cloud.commit(into("colour"))) is Invalid
        assert await outcome(cloud.commit(into("name"))) is Invalid  # a number is no text
        assert await outcome(cloud.commit(into("host"))) is Denied  # a fact
        assert await outcome(cloud.commit(into("number", range="odd"))) is Invalid
        assert await cloud.store.find(Taken) == []

    async def test_only_the_data_service_writes_what_it_counts(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=0, high=9))
        await cloud.commit(Take(range="r", owner="a"), Count(owner="a", by={"vm": 1}))
        for change in (
            created(Taken(id="r=5", range="r", value=5, owner="b")),
            updated(Taken, "r=0", owner="b"),
            Delete(kind="taken", id="r=0"),
            updated(Tally, "a", used={}),
            Create(kind="lease", id="l", row=encoded(Lease(id="l", fence=9))),
        ):
            assert await outcome(cloud.commit(change)) is Denied
        await cloud.commit(Delete(kind="tally", id="a"))
        assert await cloud.store.find(Tally) == []

    # -- tallies ---------------------------------------------------------------------------

    async def test_no_limit_is_raced_past(self, cloud: Cloud) -> None:
        def one() -> Count:
            return Count(owner="a", by={"vm": 1, "cpu": 2}, limits={"vm": 7, "cpu": -1})

        ended = await outcomes(*(cloud.commit(one()) for _ in range(20)))
        assert list(ended) == [None] * 7 + [Full] * 13
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 7, "cpu": 14}
        with pytest.raises(Full, match=r"vm of a .* 1 more than 7 would pass 7") as caught:
            await cloud.commit(one())
        assert (caught.value.code, caught.value.cs) == (535, 4370)

    async def test_a_limit_of_zero_is_a_limit(self, cloud: Cloud) -> None:
        """And less than zero is none."""
        for limits in ({"vm": 0}, {"vm": 0, "cpu": -1}):
            nothing = Count(owner="a", by={"vm": 1, "cpu": 1}, limits=limits)
            assert await outcome(cloud.commit(nothing)) is Full
        assert await cloud.store.find(Tally) == []
        await cloud.commit(Count(owner="a", by={"vm": 0, "cpu": 1}, limits={"vm": 0, "cpu": 1}))
        assert (await cloud.store.get(Tally, "a")).used["cpu"] == 1
        assert (
            await outcome(cloud.commit(Count(owner="a", by={"cpu": 1}, limits={"cpu": 1}))) is Full
        )
        await cloud.commit(Count(owner="a", by={"vm": 1000}, limits={"vm": -1}))
        await cloud.commit(Count(owner="a", by={"vm": 1000}))

    async def test_a_tally_that_is_counted_anew_stays_and_its_revision_goes_on(
        self, cloud: Cloud
    ) -> None:
        """Also at zero: who read it before that must not take it for the one that it read."""
        await cloud.commit(Count(owner="a", by={"vm": 3}))
        for revision, right in ((1, 2), (2, 0), (3, 0), (4, 1)):
            anew = Count(owner="a", by={"vm": right})
            read = Delete(kind="tally", id="a", revision=revision)
            await cloud.commit(read, anew)
            assert await outcome(cloud.commit(read, anew)) is Stale
            tally = await cloud.store.get(Tally, "a")
            assert (tally.used, tally.revision) == ({"vm": right}, revision + 1)

    async def test_a_tally_never_falls_below_zero(self, cloud: Cloud) -> None:
        await cloud.commit(Count(owner="a", by={"vm": -3}, limits={"vm": 0}))
        assert await cloud.store.find(Tally) == []
        await cloud.commit(Count(owner="a", by={"vm": 2}))
        await cloud.commit(Count(owner="a", by={"vm": -3}, limits={"vm": 0}))
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 0}

    async def test_a_tally_that_begins_and_falls_in_one_commit_is_what_is_left(
        self, cloud: Cloud
    ) -> None:
        up, down = Count(owner="a", by={"vm": 1}), Count(owner="a", by={"vm": -2})
        await cloud.commit(up, down)
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 0}
        await cloud.commit(down, up)
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 1}

    # -- leases ----------------------------------------------------------------------------

    async def test_a_lease_has_one_holder_and_a_fence_that_grows(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = 1000.0
        monkeypatch.setattr(clock, "wall_source", lambda: time)

        async def hold(holder: str, seconds: float, fence: int = 0) -> int:
            asked = Hold(name="l", holder=holder, seconds=seconds, fence=fence)
            return (await cloud.commit(asked)).got[0]

        ended = await asyncio.gather(*(hold(h, 6) for h in "abc"), return_exceptions=True)
        assert ended[0] == 1
        assert [type(e) for e in ended[1:]] == [Conflict, Conflict]
        time += 5
        assert await hold("a", 6, fence=1) == 1
        time += 5
        assert await outcome(hold("b", 6)) is Conflict
        assert await outcome(hold("b", 6, fence=1)) is Conflict
        time += 1
        assert await hold("b", 6) == 2
        assert await outcome(hold("a", 6, fence=1)) is Conflict
        assert await hold("b", 6) == 3  # a new life of the same name
        assert await outcome(hold("b", 6, fence=2)) is Conflict
        assert await hold("b", 0, fence=3) == 3
        assert await outcome(hold("b", 6, fence=3)) is Conflict  # it gave it back
        assert await hold("c", 6) == 4
        time += 6
        assert await hold("c", 6, fence=4) == 4  # late, but nobody took it
        assert await outcome(hold("d", -1)) is Invalid
        assert await outcome(hold("d", float("nan"))) is Invalid

    async def test_holding_for_no_time_proves_that_a_lease_ran_out(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = 1000.0
        monkeypatch.setattr(clock, "wall_source", lambda: time)
        await cloud.commit(Hold(name="l", holder="a", seconds=6))
        prove = Hold(name="l", holder="b", seconds=0)
        assert await outcome(cloud.commit(prove)) is Conflict
        time += 6
        assert (await cloud.commit(prove)).got == (2,)
        renew = Hold(name="l", holder="a", seconds=6, fence=1)
        assert await outcome(cloud.commit(renew)) is Conflict
        assert (await cloud.commit(Hold(name="l", holder="c", seconds=6))).got == (3,)

    async def test_a_lease_waits_behind_no_other_commit(self, cloud: Cloud) -> None:
        """With thousands of them waiting, orchestrators would lose their leases one by one."""
        rows = [cloud.create(vm(f"v{n}")) for n in range(600)]
        last = asyncio.ensure_future(cloud.commit(Hold(name="l", holder="x", seconds=60)))
        await asyncio.gather(*rows, last)
        assert (await last).number < 600

    async def test_the_store_holds_leases(self, cloud: Cloud) -> None:
        async with cloud.store.hold("l", 30) as held:
            assert held.fence == 1
            with pytest.raises(Conflict):
                await cloud.commit(Hold(name="l", holder="other", seconds=1))
        async with cloud.store.hold("l", 30) as held:
            assert held.fence == 2

    # -- tokens ----------------------------------------------------------------------------

    async def test_the_same_token_twice_is_once(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=0, high=9))
        twice = (Count(owner="a", by={"vm": 1}), Take(range="r", owner="a"))
        answers = [await cloud.commit(*twice, token="t1")]
        answers += await asyncio.gather(*(cloud.commit(*twice, token="t1") for _ in range(9)))
        assert answers == [answers[0]] * 10
        assert answers[0].got == (0,)
        answers = await asyncio.gather(*(cloud.commit(*twice, token="t2") for _ in range(9)))
        assert answers == [answers[0]] * 9
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 2}

    async def test_a_token_whose_commit_failed_may_try_again(self, cloud: Cloud) -> None:
        rename = updated(Vm, "v1", name="x")
        assert await outcome(cloud.commit(rename, token="t")) is NotFound
        await cloud.create(vm("v1"))
        assert (await cloud.commit(rename, token="t")).number == 2
        assert (await cloud.commit(rename, token="t")).number == 2

    async def test_a_token_retried_on_the_way_to_the_disk_is_once(self, cloud: Cloud) -> None:
        """The first caller gave up waiting; nobody can say whether his commit had begun."""
        count = Count(owner="a", by={"vm": 1})
        for turn in range(20):
            first = asyncio.ensure_future(cloud.commit(count, token=f"t{turn}"))
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            again = asyncio.ensure_future(cloud.commit(count, token=f"t{turn}"))
            first.cancel()
            assert await again == await cloud.commit(count, token=f"t{turn}")
            assert (await cloud.store.get(Tally, "a")).used == {"vm": turn + 1}
        assert [e.number for _, e in await cloud.entries()] == list(range(1, 21))

    async def test_of_two_tries_in_one_batch_the_one_that_works_counts(self, cloud: Cloud) -> None:
        rename = updated(Vm, "v1", name="x")
        ended = await outcomes(
            cloud.commit(rename, token="t"),
            cloud.create(vm("v1")),
            cloud.commit(rename, token="t"),
            cloud.commit(rename, updated(Vm, "v1", name="never"), token="t"),
        )
        assert list(ended) == [NotFound, None, None, None]
        assert (await cloud.store.get(Vm, "v1")).name == "x"
        assert await cloud.data.head(("vm",)) == 2

    async def test_tokens_are_forgotten_after_a_day(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = 1_000_000.0
        monkeypatch.setattr(clock, "wall_source", lambda: time)
        count = Count(owner="a", by={"vm": 1})
        await cloud.commit(count, token="t")
        for _ in range(43):
            time += 2000  # a clock that jumps by more is doubted
            await cloud.turn()
        await cloud.commit(count, token="t")
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 1}
        time += 1000
        await cloud.turn()
        await cloud.commit(count, token="t")
        assert (await cloud.store.get(Tally, "a")).used == {"vm": 2}
