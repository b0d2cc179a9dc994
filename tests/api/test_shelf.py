"""Lists follow the rows: what is hidden, moved, renamed or gone shows so in the next answer."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.identity import Account, Domain
from csnode.model.network import Nic
from csnode.model.place import Zone
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from csnode.types import DomainId, Power
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOSS, Desk

NET = seeds.uuid(500)
FIRST, SECOND, THIRD = (seeds.uuid(1_000_000 + number) for number in (1, 2, 3))
OFF: dict[str, Any] = {"host": None, "power": Power.OFF}


@pytest.fixture
async def listed(desk: Desk) -> Desk:
    """Three machines of alice, which everybody has listed once already."""
    machines = [row for number in (1, 2, 3) for row in seeds.machine(number, NET)]
    await desk.plant([*seeds.network(NET), *machines])
    for who in (ADMIN, BOSS, ALICE):
        assert await ids(desk, who) == [FIRST, SECOND, THIRD]
    return desk


async def ids(desk: Desk, by: Any, **params: str) -> list[str]:
    answer = await desk.ask("listVirtualMachines", by, listall="true", **params)
    assert answer.get("count", 0) == len(answer.get("virtualmachine", []))
    return [vm["id"] for vm in answer.get("virtualmachine", [])]


async def update(desk: Desk, kind: type[Any], id: str, by: str = "api", **columns: Any) -> None:
    change = desk.store.acting_as(by).change()
    change.update(kind, id, **columns)
    await change.commit()


async def test_a_plain_user_sees_a_destroyed_machine_no_more(listed: Desk) -> None:
    """Nor by its id; admins do; and it is there again once it is recovered."""
    gone = {"want": Want.DESTROYED, **OFF, "destroyed": 200.0}
    await update(listed, Vm, SECOND, "compute", power=Power.OFF)
    await update(listed, Vm, SECOND, "orchestrator", host=None)
    await update(listed, Vm, SECOND, want=Want.DESTROYED, destroyed=200.0)
    assert await ids(listed, ALICE) == [FIRST, THIRD]
    assert await ids(listed, ALICE, id=SECOND) == []
    assert await ids(listed, ALICE, name="web2") == []
    assert await ids(listed, ADMIN) == await ids(listed, BOSS) == [FIRST, SECOND, THIRD]
    await update(listed, Vm, SECOND, want=Want.STOPPED)
    assert await ids(listed, ALICE) == [FIRST, SECOND, THIRD]
    await listed.plant(seeds.machine(4, NET, **gone))
    assert await ids(listed, ALICE) == [FIRST, SECOND, THIRD]


async def test_a_deleted_machine_is_in_no_list(listed: Desk) -> None:
    change = listed.store.change()
    change.delete(Volume, seeds.uuid(3_000_002))
    change.delete(Nic, seeds.uuid(2_000_002))
    change.delete(Vm, SECOND)
    await change.commit()
    for who in (ADMIN, BOSS, ALICE):
        assert await ids(listed, who) == [FIRST, THIRD]
    await listed.plant(seeds.machine(2, NET)[:1])
    assert await ids(listed, ALICE) == [FIRST, SECOND, THIRD]


async def test_a_machine_that_changes_hands_changes_lists(listed: Desk) -> None:
    await update(listed, Vm, FIRST, account=seeds.LAB, domain=seeds.ACME_LABS)
    assert await ids(listed, ALICE) == [SECOND, THIRD]
    assert await ids(listed, BOSS) == [FIRST, SECOND, THIRD]
    of_labs = await listed.ask("listVirtualMachines", BOSS, domainid=seeds.ACME_LABS)
    assert [vm["id"] for vm in of_labs["virtualmachine"]] == [FIRST]
    await update(listed, Vm, FIRST, account=seeds.BOB, domain=seeds.OTHER)
    assert await ids(listed, BOSS) == [SECOND, THIRD]
    assert await ids(listed, ADMIN) == [FIRST, SECOND, THIRD]


async def test_a_domain_that_moves_takes_its_machines_along(listed: Desk) -> None:
    await update(listed, Vm, FIRST, account=seeds.LAB, domain=seeds.ACME_LABS)
    assert FIRST in await ids(listed, BOSS)
    await update(listed, Domain, seeds.ACME_LABS, parent=seeds.OTHER, path="ROOT/other/labs")
    assert await ids(listed, BOSS) == [SECOND, THIRD]
    await update(listed, Domain, seeds.ACME_LABS, parent=seeds.ACME, path="ROOT/acme/labs")
    assert await ids(listed, BOSS) == [FIRST, SECOND, THIRD]


async def test_an_answer_follows_what_it_shows_of_other_rows(listed: Desk) -> None:
    async def shown(field: str) -> Any:
        answer = await listed.ask("listVirtualMachines", ALICE, id=FIRST)
        return answer["virtualmachine"][0][field]

    assert (await shown("displayname"), await shown("zonename")) == ("web1", "zone1")
    await update(listed, Vm, FIRST, display_name="front")
    await update(listed, Zone, seeds.ZONE, name="east")
    await update(listed, Account, seeds.ALICE, name="alicia")
    assert (await shown("displayname"), await shown("zonename")) == ("front", "east")
    assert await shown("account") == "alicia"


async def test_pages_are_cut_from_the_order_of_making(listed: Desk) -> None:
    async def page(number: str, size: str) -> list[str]:
        asked = {"listall": "true", "page": number, "pagesize": size}
        answer = await listed.ask("listVirtualMachines", ADMIN, **asked)
        assert answer["count"] == 3
        return [vm["id"] for vm in answer.get("virtualmachine", [])]

    assert await page("1", "2") == [FIRST, SECOND]
    assert await page("2", "2") == [THIRD]
    assert await page("3", "2") == []


async def test_jobs_are_listed_newest_first_page_by_page(listed: Desk) -> None:
    order, vms = "rebootVirtualMachine", (FIRST, SECOND, THIRD)
    jobs = [(await listed.ask(order, ALICE, id=id))["jobid"] for id in vms]

    async def page(number: str) -> list[str]:
        answer = await listed.ask("listAsyncJobs", ALICE, page=number, pagesize="2")
        assert answer["count"] == 3
        return [job["jobid"] for job in answer.get("asyncjobs", [])]

    assert await page("1") + await page("2") == jobs[::-1]
    assert await page("3") == []


async def test_what_comes_with_its_domain_is_in_the_lists_of_those_above(listed: Desk) -> None:
    """One commit makes both; a view may hear of the machine before it hears of the domain."""
    domain, account = seeds.uuid(701), seeds.uuid(702)
    rows: list[Any] = [
        *seeds.machine(9, NET, account=account, domain=domain, user=None)[:1],
        Account(id=account, name="new", domain=DomainId(domain)),
        Domain(id=domain, name="new", path="ROOT/acme/new", parent=DomainId(seeds.ACME), level=2),
    ]
    for order in (rows, rows[::-1]):
        await listed.plant(order)
        ninth = seeds.uuid(1_000_009)
        assert await ids(listed, BOSS) == await ids(listed, ADMIN) == [FIRST, SECOND, THIRD, ninth]
        assert await ids(listed, ALICE) == [FIRST, SECOND, THIRD]
        change = listed.store.change()
        for kind, id in ((Vm, ninth), (Account, account), (Domain, domain)):
            change.delete(kind, id)
        await change.commit()
        assert await ids(listed, BOSS) == [FIRST, SECOND, THIRD]
