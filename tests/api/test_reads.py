"""An answer that is kept says what one made just now would say, whatever rows changed meanwhile.

No answer says what it depends on: a shelf records it. Here every column of a row of each kind that
answers read is changed by a commit, and all answers there are are held against fresh ones.
"""

from __future__ import annotations

from typing import Any, ClassVar, get_type_hints

from csnode.api.about import Rank
from csnode.api.reach import ALL
from csnode.api.shelf import Shelf
from csnode.api.view import Shown
from csnode.data.view import View
from csnode.model.entity import declared_kind
from csnode.model.host import Host
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.network import Nic
from csnode.model.offering import DiskOffering
from csnode.model.vm import Vm
from roles.api.views.vm import VmView
from tests.api import seeds
from tests.api.conftest import ADMIN, BOSS, Desk
from tests.api.kept import DATA_DISK, FIRST, Shelves, answers, changed, others, world

NAMED_MOST = {DATA_DISK, seeds.ACME, seeds.ALICE, seeds.user_of(seeds.ALICE)}  # of their kinds


async def swept(desk: Desk, shelves: Shelves) -> tuple[list[str], set[str], set[str]]:
    """Change each column of some rows of each kind, and back: what was old, changed, refused."""
    old: list[str] = []
    done: set[str] = set()
    refused: set[str] = set()
    view = desk.api.view
    planted: list[Any] = [*seeds.base(), *world()]
    for each in sorted({row.kind for row in planted} & set(view)):
        kind: Any = declared_kind(each)
        rows: list[Any] = sorted(view.all(kind), key=lambda row: row.id)
        picked = [row for row in rows if row.id in NAMED_MOST or row in (rows[0], rows[-1])]
        hints = get_type_hints(kind, include_extras=True)
        for column in sorted(set(kind.__struct_fields__) - {"id", "revision"}):
            name = f"{kind.kind}.{column}"
            for row in picked:
                for value in others(row, column, hints[column], desk):
                    if await changed(desk, row, column, value):
                        done.add(name)
                        old += [f"{name}={value}: {said}" for said in shelves.old()]
                        assert await changed(desk, row, column, getattr(row, column)), name
                        old += [f"{name} back: {said}" for said in shelves.old()]
            if name not in done:
                refused.add(name)
    return old, done, refused


async def watched(desk: Desk, shown: list[type[Shown]]) -> Shelves:
    await desk.plant(world())
    await desk.api.view.fresh()
    assert {each.__name__ for each in shown if not desk.api.view.all(each.of)} == set()
    return Shelves(desk, shown)


async def test_every_kept_answer_follows_every_column_of_every_kind_it_reads(desk: Desk) -> None:
    old, done, refused = await swept(desk, await watched(desk, answers()))
    assert old == []
    assert len(done) > 250
    assert refused == {"job.times", "job.tried"}, "no value was found that these columns take"


async def test_an_account_shows_what_is_counted_of_it(desk: Desk) -> None:
    """Tallies are not written by `update`; of an account without machines there is none."""
    shelves = await watched(desk, answers())
    for by in (1, 2, -3):
        change = desk.store.acting_as("api").change()
        change.count(f"account:{seeds.BOB}", {"user_vm": by})
        await change.commit()
        await desk.api.view.fresh()
        assert shelves.old() == []


async def test_a_machine_shows_the_new_name_of_its_disk_offering(desk: Desk) -> None:
    await desk.plant(world())

    async def shown() -> Any:
        answer = await desk.ask("listVirtualMachines", ADMIN, id=FIRST)
        return answer["virtualmachine"][0]["diskofferingname"]

    assert await shown() == "Five"
    change = desk.store.change()
    change.update(DiskOffering, seeds.DISK, name="Fifty")
    await change.commit()
    assert await shown() == "Fifty"


async def test_a_job_is_in_the_lists_of_its_account_also_if_that_comes_later(desk: Desk) -> None:
    """Jobs do not name the domain that they belong to: their account does."""
    late: Any = seeds.uuid(971)
    job = Job(id=seeds.uuid(972), verb="start_vm", order={}, account=late, created=30.0)

    async def listed() -> int:
        return (await desk.ask("listAsyncJobs", BOSS, listall="true")).get("count", 0)

    await desk.plant([job])
    assert await listed() == 0
    await desk.plant([Account(id=late, name="late", domain=seeds.ACME)])
    assert await listed() == 1
    change = desk.store.change()
    change.update(Account, late, domain=seeds.OTHER)
    await change.commit()
    assert await listed() == 0


class Counted(VmView):
    """A machine's answer that says when it is made."""

    made_of: ClassVar[list[str]] = []

    @classmethod
    def made(cls, row: Vm, view: View) -> VmView:
        cls.made_of.append(row.id)
        return VmView.made(row, view)


async def test_a_column_that_no_answer_shows_drops_none(desk: Desk) -> None:
    """A machine does not show since when its host is up: what does not show costs nothing."""
    await desk.plant(world())
    view = desk.api.view
    await view.fresh()
    shelf = Shelf(Counted, view)

    async def made_anew() -> list[str]:
        await view.fresh()
        Counted.made_of.clear()
        for id in shelf.every(ALL):
            shelf.encoded(id, Rank.USER)
        return sorted(Counted.made_of)

    both = [FIRST, seeds.uuid(1_000_002)]
    assert await made_anew() == both
    assert await changed(desk, view.get(Host, seeds.HOST), "seen_since", 77.0)
    assert await made_anew() == []
    assert await changed(desk, view.get(Host, seeds.HOST), "name", "renamed")
    assert await made_anew() == both
    assert await changed(desk, view.get(Nic, seeds.uuid(2_000_001)), "default", False)
    assert await made_anew() == [FIRST]
