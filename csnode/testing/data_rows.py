"""The rules of rows: what create, update and delete do, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from csnode.contracts.data import ChangeItem, Count, Create, Delete, Take, Update
from csnode.data.rows import encoded
from csnode.faults import Conflict, Denied, Invalid, NotFound, Stale
from csnode.model.entity import Entity
from csnode.model.place import Zone
from csnode.model.stock import Lock, Range, Taken, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.testing.data_cloud import (
    ALL,
    Cloud,
    Served,
    account,
    created,
    host,
    outcome,
    outcomes,
    template,
    updated,
    vm,
)
from csnode.types import AccountId, HostId, Power


class RowRules(Served):
    """Rows are whole, of their shape, and written by those who may."""

    async def test_a_created_row_is_found_by_its_id_and_by_its_keys(self, cloud: Cloud) -> None:
        mine, theirs = AccountId("a1"), AccountId("a2")
        await cloud.create(account("a1"), account("a2"))
        await cloud.create(vm("v1", account=mine), vm("v2", account=theirs))
        assert await cloud.store.get(Vm, "v1") == vm("v1", account=mine, revision=1)
        assert [v.id for v in await cloud.store.find(Vm, account="a2")] == ["v2"]
        assert [v.id for v in await cloud.store.find(Vm, account=("a1", "a2"))] == ["v1", "v2"]
        assert await cloud.store.find(Vm, account=()) == []
        assert len(await cloud.store.find(Vm, host=None)) == 2
        assert len(await cloud.store.find(Vm, host=("h1", None))) == 2
        assert await outcome(cloud.store.get(Vm, "v3")) is NotFound

    async def test_rows_are_found_only_by_keys(self, cloud: Cloud) -> None:
        with pytest.raises(Invalid, match="'name'"):
            await cloud.store.find(Vm, name="v1")
        assert await outcome(cloud.data.find("unheard-of", {}, "", 1)) is Invalid
        assert await outcome(cloud.data.find("vm", {"host": {"a": 1}}, "", 1)) is Invalid
        assert await outcome(cloud.data.find("vm", {}, "", 0)) is Invalid

    async def test_pages_go_by_rising_id(self, cloud: Cloud) -> None:
        await cloud.create(*(vm(f"v{n}") for n in (3, 1, 4, 0, 2)))
        first = await cloud.data.find("vm", {"account": [""]}, "", 3)
        rest = await cloud.data.find("vm", {"account": [""]}, first[-1].id, 3)
        assert [row.id for row in (*first, *rest)] == ["v0", "v1", "v2", "v3", "v4"]

    async def test_a_commit_happens_whole_or_not_at_all(self, cloud: Cloud) -> None:
        await cloud.create(Zone(id="z1", name="one"), Range(id="r", low=0, high=9))
        before = await cloud.data.head(ALL)
        fault = await outcome(
            cloud.commit(
                created(vm("v1")),
                Take(range="r", owner="v1"),
                Count(owner="a1", by={"vm": 1}),
                Delete(kind="zone", id="z1"),
                updated(Vm, "v2", name="x"),
            )
        )
        assert fault is NotFound
        assert await cloud.store.find(Vm) == await cloud.store.find(Taken) == []
        assert await cloud.store.find(Tally) == []
        assert len(await cloud.store.find(Zone)) == 1
        assert await cloud.data.head(ALL) == before
        assert (await cloud.commit(Take(range="r", owner="v1"))).got == (0,)

    async def test_a_failing_commit_hurts_no_neighbour(self, cloud: Cloud) -> None:
        await cloud.create(vm("v0"))
        works = [cloud.create(vm(f"v{n % 7}"), vm(f"w{n}")) for n in range(20)]
        ended = await outcomes(*works)
        assert ended == [Conflict if n == 0 or n > 6 else None for n in range(20)]
        found = [v.id for v in await cloud.store.find(Vm)]
        assert found == [*(f"v{n}" for n in range(7)), *(f"w{n}" for n in range(1, 7))]
        assert [e.number for _, e in await cloud.entries()] == list(range(1, 14))

    async def test_of_many_at_one_revision_one_wins(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"))

        async def rename(name: str) -> None:
            change = cloud.store.change()
            change.update(Vm, "v1", revision=1, name=name)
            await change.commit()

        ended = await outcomes(*(rename(f"n{n}") for n in range(20)))
        assert sorted(map(str, ended)) == sorted([str(None), *[str(Stale)] * 19])
        assert (await cloud.store.get(Vm, "v1")).revision == 2
        stale = Delete(kind="vm", id="v1", revision=1)
        assert await outcome(cloud.commit(stale)) is Stale

    async def test_what_changes_nothing_leaves_no_trace(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"))
        number = await cloud.commit(updated(Vm, "v1", name="v1", host=None, by="orchestrator"))
        assert number.number == 1
        assert (await cloud.commit(Delete(kind="vm", id="v2"))).number == 1
        assert (await cloud.commit(created(vm("v3")), Delete(kind="vm", id="v3"))).number == 1
        assert (await cloud.store.get(Vm, "v1")).revision == 1

    async def test_an_update_of_nothing_still_proves_the_revision(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"))
        await cloud.commit(updated(Vm, "v1", name="x"))

        def proof(revision: int) -> Update:
            return Update(kind="vm", id="v1", columns=b"{}", revision=revision)

        lock = created(Lock(id="l", job="j"))
        assert await outcome(cloud.commit(proof(1), lock)) is Stale
        assert await cloud.store.find(Lock) == []
        assert (await cloud.commit(proof(2), lock)).number == 3
        assert (await cloud.store.get(Vm, "v1")).revision == 2
        ended = await outcomes(cloud.commit(updated(Vm, "v1", name="y")), cloud.commit(proof(2)))
        assert list(ended) == [None, Stale]

    async def test_a_row_has_one_entry_a_commit(self, cloud: Cloud) -> None:
        await cloud.commit(
            created(vm("v1")), updated(Vm, "v1", name="x"), updated(Vm, "v1", group="g")
        )
        done = await cloud.commit(updated(Vm, "v1", name="y"), updated(Vm, "v1", group="h"))
        assert done.number == 2
        assert await cloud.store.get(Vm, "v1") == vm("v1", name="y", group="h", revision=2)
        await cloud.commit(Delete(kind="vm", id="v1"))
        entries = [(e.number, e.revision, bool(e.row)) for _, e in await cloud.entries()]
        assert entries == [(1, 1, True), (2, 2, True), (3, 3, False)]

    async def test_a_row_may_come_back_after_it_went(self, cloud: Cloud) -> None:
        lock = Lock(id="vm:1", job="j1")
        await cloud.create(lock)
        await cloud.commit(Delete(kind="lock", id="vm:1"), created(lock))
        assert (await cloud.store.get(Lock, "vm:1")).revision == 2  # one commit: it never went
        both = (cloud.commit(Delete(kind="lock", id="vm:1")), cloud.create(lock))
        assert await outcomes(*both) == [None, None]
        assert (await cloud.store.get(Lock, "vm:1")).revision == 1
        assert [e.number for _, e in await cloud.entries()] == [1, 2, 3, 4]

    async def test_a_misshapen_row_is_refused(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"))
        wrong: tuple[ChangeItem, ...] = (
            updated(Vm, "v1", cpus="many"),
            updated(Vm, "v1", colour="red"),
            Update(kind="vm", id="v1", columns=b'{"id":"v2"}'),
            updated(Vm, "v1", revision=7),
            Update(kind="vm", id="v1", columns=b"[1]"),
            Update(kind="vm", id="v1", columns=b'{"name":'),
            Update(kind="vm", id="v1", columns=b'{"name":"\xff"}'),
            Update(kind="vm", id="v1", columns=b'{"name":"\x1e"}'),
            Create(kind="vm", id="v2", row=b"{}"),
            Create(kind="vm", id="v2", row=encoded(vm("v3"))),
            Create(kind="lock", id="l", row=b'{"id":"l","job":"j","colour":1}'),
            Create(kind="unheard-of", id="x", row=b"{}"),
            created(Lock(id="", job="j")),
            created(Lock(id="a\x1fb", job="j")),
        )
        assert set(await outcomes(*(cloud.commit(change) for change in wrong))) == {Invalid}
        assert await cloud.data.head(ALL) == 1

    async def test_a_chosen_id_is_the_id_of_nothing_else(self, cloud: Cloud) -> None:
        await cloud.create(vm("one"))
        chosen = Create(kind="lock", id="one", row=encoded(Lock(id="one", job="j")), alone=True)
        assert await outcomes(cloud.commit(chosen)) == [Conflict]
        await cloud.create(Lock(id="one", job="j"))  # nobody chose it: the two belong together
        both = [
            msgspec.structs.replace(created(row), alone=True)
            for row in (Lock(id="two", job="j"), vm("two"))
        ]
        found = await outcomes(*(cloud.commit(create) for create in both))
        assert sorted(map(str, found)) == sorted(map(str, [None, Conflict])), "one of two at once"
        again = [msgspec.structs.replace(create, id="three") for create in both]
        assert set(await outcomes(cloud.commit(*again))) != {None}, "nor within one commit"

    async def test_a_unique_value_has_one_row(self, cloud: Cloud) -> None:
        zones = [Zone(id=f"z{n}", name="same") for n in range(9)]
        assert list(await outcomes(*map(cloud.create, zones))) == [None] + [Conflict] * 8
        assert await outcome(cloud.create(zones[5])) is Conflict
        await cloud.commit(updated(Zone, "z0", name="other"))
        await cloud.create(zones[5])
        assert [z.id for z in await cloud.store.find(Zone, name="same")] == ["z5"]
        await cloud.commit(Delete(kind="zone", id="z5"), created(zones[6]))
        assert [z.id for z in await cloud.store.find(Zone, name="same")] == ["z6"]

    async def test_unique_values_may_change_hands_at_once(self, cloud: Cloud) -> None:
        """However the changes fall into transactions."""
        await cloud.create(Zone(id="za", name="1"), Zone(id="zb", name="2"))
        await asyncio.gather(
            cloud.commit(updated(Zone, "za", dns1="192.0.2.1")),
            cloud.commit(updated(Zone, "zb", name="3")),
            cloud.commit(updated(Zone, "za", name="2")),
            cloud.commit(updated(Zone, "zb", name="1")),
        )
        assert {z.id: z.name for z in await cloud.store.find(Zone)} == {"za": "2", "zb": "1"}

    async def test_a_fact_has_one_writer(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"), template("t1"), host("h1"))

        async def write(by: str, kind: type[Entity], id: str, **columns: Any) -> bool:
            ended = await outcome(cloud.store.acting_as(by).observe(kind, id, **columns))
            assert ended in (None, Denied)
            return ended is None

        assert await write("compute", Vm, "v1", power=Power.ON)
        assert not await write("compute", Vm, "v1", host=HostId("h1"))
        assert not await write("compute", Vm, "v1", name="x")
        assert not await write("compute", Vm, "v1", power=Power.OFF, name="x")
        assert not await write("orchestrator", Vm, "v1", power=Power.OFF)
        assert not await write("", Vm, "v1", power=Power.OFF)
        assert await write("orchestrator", Vm, "v1", host=HostId("h1"), name="x")
        assert not await write("api", Vm, "v1", host=None)
        assert await write("api", Vm, "v1", name="y")
        assert await write("storage", Template, "t1", percent=10)
        assert not await write("storage", Template, "t1", ready=True)
        assert not await write("monitor", Template, "t1", name="x")
        row = await cloud.store.get(Vm, "v1")
        assert (row.power, row.host, row.name) == (Power.ON, "h1", "y")
