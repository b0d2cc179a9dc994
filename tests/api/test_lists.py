"""Lists: pages, keywords, filters, and who sees what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from csnode.api.call import Caller
from csnode.model.identity import Domain
from csnode.model.network import Network
from csnode.model.offering import Offering
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.types import AccountId, DomainId, Power
from roles.api.views.template import status
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, LAB, Desk

NET = seeds.uuid(500)


def names(found: dict[str, Any]) -> list[str]:
    return [row["name"] for row in found.get("virtualmachine", [])]


@pytest.fixture
async def five(desk: Desk) -> Desk:
    """Two of alice's, one each of bob's, lab's and admin's machines."""
    owners = [(seeds.ALICE, seeds.ACME), (seeds.ALICE, seeds.ACME), (seeds.BOB, seeds.OTHER),
              (seeds.LAB, seeds.ACME_LABS), (seeds.ADMIN, seeds.ROOT)]  # fmt: skip
    await desk.plant(seeds.network(NET))
    for number, (account, domain) in enumerate(owners, 1):
        await desk.plant(seeds.machine(number, NET, account, domain))
    return desk


ALL = ["web1", "web2", "web3", "web4", "web5"]


@pytest.mark.parametrize(
    ("by", "params", "seen"),
    [
        (ADMIN, {}, ["web5"]),
        (ADMIN, {"listall": "true"}, ALL),
        (ADMIN, {"domainid": seeds.ACME}, ["web1", "web2"]),
        (ADMIN, {"domainid": seeds.ACME, "isrecursive": "true"}, ["web1", "web2", "web4"]),
        (ADMIN, {"domainid": seeds.ROOT, "isrecursive": "true"}, ALL),
        (ADMIN, {"account": "alice", "domainid": seeds.ACME}, ["web1", "web2"]),
        (ADMIN, {"projectid": "-1"}, []),
        (ADMIN, {"projectid": "-1", "listall": "true"}, ALL),
        (BOSS, {}, []),
        (BOSS, {"listall": "true"}, ["web1", "web2", "web4"]),
        (BOSS, {"domainid": seeds.ACME_LABS}, ["web4"]),
        (BOSS, {"account": "alice"}, ["web1", "web2"]),
        (ALICE, {}, ["web1", "web2"]),
        (ALICE, {"listall": "true"}, ["web1", "web2"]),
        (ALICE, {"account": "alice", "domainid": seeds.ACME}, ["web1", "web2"]),
        (ALICE, {"domainid": seeds.ACME}, ["web1", "web2"]),
        (BOB, {"listall": "true"}, ["web3"]),
        (LAB, {"listall": "true"}, ["web4"]),
        (ADMIN, {"id": seeds.uuid(1_000_003)}, ["web3"]),
        (BOSS, {"id": seeds.uuid(1_000_004)}, ["web4"]),
        (ADMIN, {"ids": f"{seeds.uuid(1_000_001)},{seeds.uuid(1_000_003)}"}, ["web1", "web3"]),
        (ADMIN, {"ids": f"{seeds.uuid(1_000_001)},{seeds.uuid(1_000_001)}"}, ["web1"]),
    ],
)
async def test_a_caller_sees_his_scope(
    five: Desk, by: Caller, params: dict[str, str], seen: list[str]
) -> None:
    found = await five.ask("listVirtualMachines", by, **params)
    assert names(found) == seen
    assert found == {} if not seen else found["count"] == len(seen)


@pytest.mark.parametrize(
    ("params", "seen"),
    [
        ({"keyword": "EB3"}, ["web3"]),
        ({"name": "web"}, ALL),
        ({"state": "Running"}, ALL),
        ({"state": "Stopped"}, []),
        ({"state": "Present"}, ALL),
        ({"zoneid": seeds.ZONE}, ALL),
        ({"hostid": seeds.HOST}, ALL),
        ({"networkid": NET}, ALL),
        ({"templateid": seeds.IMAGE}, ALL),
        ({"templateid": seeds.RAW_IMAGE}, []),
        ({"serviceofferingid": seeds.SMALL}, ALL),
        ({"storageid": seeds.POOL}, ALL),
        ({"podid": seeds.POD}, ALL),
        ({"clusterid": seeds.CLUSTER, "keyword": "5"}, ["web5"]),
        ({"hypervisor": "kvm"}, ALL),
        ({"hypervisor": "Hyper-V"}, []),
        ({"userid": seeds.user_of(seeds.BOB)}, ["web3"]),
        ({"nonsense": "1", "_": "2"}, ALL),
    ],
)
async def test_a_filter_keeps_what_fits(
    five: Desk, params: dict[str, str], seen: list[str]
) -> None:
    found = await five.ask("listVirtualMachines", ADMIN, listall="true", **params)
    assert names(found) == seen


@pytest.mark.parametrize(
    ("page", "size", "seen"),
    [("1", "2", ["web1", "web2"]), ("3", "2", ["web5"]), ("0", "2", ["web1", "web2"]),
     ("-7", "2", ["web1", "web2"]), ("1", "500", ALL)],
)  # fmt: skip
async def test_a_page_is_a_slice(five: Desk, page: str, size: str, seen: list[str]) -> None:
    found = await five.ask("listVirtualMachines", listall="true", page=page, pagesize=size)
    assert (names(found), found["count"]) == (seen, 5)


async def test_a_page_past_the_end_has_the_count_alone(five: Desk) -> None:
    found = await five.ask("listVirtualMachines", listall="true", page="9", pagesize="2")
    assert found == {"count": 5}


async def test_pagesize_minus_one_is_all(five: Desk) -> None:
    found = await five.ask("listVirtualMachines", listall="true", pagesize="-1")
    assert names(found) == ALL


async def test_a_filtered_list_has_pages_too(five: Desk) -> None:
    found = await five.ask(
        "listVirtualMachines", listall="true", state="Running", page="2", pagesize="3"
    )
    assert (names(found), found["count"]) == (["web4", "web5"], 5)


async def test_a_list_reads_its_own_writes(five: Desk) -> None:
    for number in range(6, 16):
        await five.plant(seeds.machine(number, NET))
        found = await five.ask("listVirtualMachines", listall="true")
        assert found["count"] == number


async def test_destroyed_machines_are_hidden_from_users_only(five: Desk) -> None:
    change = five.store.change()
    change.update(Vm, seeds.uuid(1_000_001), want=Want.DESTROYED)
    await change.commit()
    await five.observe(Vm, seeds.uuid(1_000_001), "compute", power=Power.OFF)
    assert names(await five.ask("listVirtualMachines", ALICE)) == ["web2"]
    assert await five.ask("listVirtualMachines", ALICE, id=seeds.uuid(1_000_001)) == {}
    assert names(await five.ask("listVirtualMachines", ADMIN, listall="true")) == ALL
    assert names(await five.ask("listVirtualMachines", BOSS, listall="true"))[0] == "web1"
    present = await five.ask("listVirtualMachines", ADMIN, listall="true", state="Present")
    assert names(present) == ALL[1:]
    gone = await five.ask("listVirtualMachines", ADMIN, listall="true", state="Destroyed")
    assert names(gone) == ["web1"]


async def test_host_names_are_for_root_admins(five: Desk) -> None:
    hidden = {"hostid", "hostname", "instancename", "displayvm", "hostcontrolstate"}
    (row,) = (await five.ask("listVirtualMachines", ADMIN, keyword="web5"))["virtualmachine"]
    assert hidden <= set(row)
    for by in (ALICE, BOSS):
        found = await five.ask("listVirtualMachines", by, listall="true")
        assert not hidden & set(found["virtualmachine"][0])


@pytest.mark.parametrize(
    ("kind", "id", "columns", "field", "value"),
    [
        (Offering, seeds.SMALL, {"name": "Tiny"}, "serviceofferingname", "Tiny"),
        (Network, NET, {"name": "back"}, "nic", "back"),
        (Domain, seeds.ACME, {"name": "acme2", "path": "ROOT/acme2"}, "domainpath", "ROOT/acme2"),
        (Vm, seeds.uuid(1_000_001), {"display_name": "Shop"}, "displayname", "Shop"),
    ],
)
async def test_a_kept_answer_is_dropped_when_what_it_shows_changes(
    five: Desk, kind: Any, id: str, columns: dict[str, Any], field: str, value: str
) -> None:
    first = await five.ask("listVirtualMachines", ALICE, id=seeds.uuid(1_000_001))
    change = five.store.change()
    change.update(kind, id, **columns)
    await change.commit()
    again = await five.ask("listVirtualMachines", ALICE, id=seeds.uuid(1_000_001))
    assert value in str(again["virtualmachine"][0][field])
    assert value not in str(first["virtualmachine"][0][field])


async def test_kept_lists_say_the_same_as_fresh_ones(five: Desk) -> None:
    """Whatever happened to the rows, the shelf is as one that was made just now."""
    from csnode.api.reach import Scope
    from csnode.api.shelf import Shelf
    from roles.api.views.vm import VmView

    await five.ask("listVirtualMachines", listall="true")
    kept = five.api.door.shelves.of(VmView)
    change = five.store.change()
    change.items += await five.with_parts(seeds.uuid(1_000_002))
    change.update(Vm, seeds.uuid(1_000_003), account=seeds.LAB, domain=seeds.ACME_LABS)
    await change.commit()
    await five.plant(seeds.machine(9, NET, created=50.0))
    await five.api.view.fresh()
    fresh = Shelf(VmView, five.api.view)
    scopes = [Scope(what="all")]
    for id in (seeds.ROOT, seeds.ACME, seeds.ACME_LABS, seeds.OTHER):
        scopes += [Scope(what="in", id=id), Scope(what="under", id=id)]
    for id in (seeds.ALICE, seeds.BOB, seeds.LAB, seeds.ADMIN):
        scopes.append(Scope(what="account", id=id))
    for scope in scopes:
        assert kept.every(scope) == fresh.every(scope), scope
        for id in kept.every(scope):
            assert kept.encoded(id, ADMIN.rank) == fresh.encoded(id, ADMIN.rank)


async def test_user_data_is_shown_when_asked_for(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET, user_data="aGk=")])
    plain = await desk.ask("listVirtualMachines", ALICE)
    full = await desk.ask("listVirtualMachines", ALICE, userdata="true")
    assert "userdata" not in plain["virtualmachine"][0]
    assert full["virtualmachine"][0]["userdata"] == "aGk="


TEMPLATES = {"debian", "alices", "coming"}


@pytest.mark.parametrize(
    ("by", "params", "seen"),
    [
        (ADMIN, {"templatefilter": "all"}, TEMPLATES),
        (BOSS, {"templatefilter": "all"}, {"alices"}),
        (ALICE, {"templatefilter": "featured"}, {"debian"}),
        (ALICE, {"templatefilter": "self"}, {"alices"}),
        (ALICE, {"templatefilter": "executable"}, {"debian", "alices"}),
        (BOB, {"templatefilter": "executable"}, {"debian"}),
        (BOB, {"templatefilter": "self"}, set[str]()),
        (BOB, {"templatefilter": "community"}, {"coming"}),
        (BOB, {"templatefilter": "sharedexecutable"}, set[str]()),
        (ADMIN, {"templatefilter": "all", "isready": "false"}, {"coming"}),
        (ADMIN, {"templatefilter": "all", "zoneid": seeds.ZONE}, TEMPLATES),
        (ADMIN, {"templatefilter": "all", "name": "debian"}, {"debian"}),
        (BOB, {"templatefilter": "featured", "id": seeds.IMAGE}, {"debian"}),
    ],
)
async def test_a_template_filter_says_whose(
    desk: Desk, by: Caller, params: dict[str, str], seen: set[str]
) -> None:
    found = await desk.ask("listTemplates", by, **params)
    assert {row["name"] for row in found.get("template", [])} == seen


async def test_a_template_says_how_far_it_is(desk: Desk) -> None:
    found = await desk.ask("listTemplates", templatefilter="all")
    states = {row["name"]: (row["isready"], row["status"]) for row in found["template"]}
    assert states["debian"] == (True, "Download Complete")
    assert states["coming"] == (False, "40% Downloaded")


def test_a_template_that_waits_for_its_download_says_whom_for() -> None:
    row = Template(id="t", name="t", account=AccountId("a"), domain=DomainId("d"), waits="Waiting")
    assert status(row) == "Waiting"
    assert status(replace(row, percent=3)) == "3% Downloaded"
    assert status(replace(row, ready=True)) == "Download Complete"


@pytest.mark.parametrize(
    ("by", "seen"), [(ADMIN, ["Small", "Acme only"]), (ALICE, ["Small", "Acme only"]),
                     (LAB, ["Small", "Acme only"]), (BOB, ["Small"])]
)  # fmt: skip
async def test_an_offering_is_for_its_domain(desk: Desk, by: Caller, seen: list[str]) -> None:
    found = await desk.ask("listServiceOfferings", by)
    assert [row["name"] for row in found["serviceoffering"]] == seen


@pytest.mark.parametrize(
    ("by", "params", "seen"),
    [
        (ADMIN, {}, {"admin"}),
        (ADMIN, {"listall": "true"}, {"admin", "boss", "alice", "bob", "lab"}),
        (BOSS, {"listall": "true"}, {"boss", "alice", "lab"}),
        (ALICE, {"listall": "true"}, {"alice"}),
        (ADMIN, {"name": "alice", "listall": "true"}, {"alice"}),
        (ADMIN, {"name": "admin"}, {"admin"}),
    ],
)
async def test_accounts_are_listed_by_scope(
    desk: Desk, by: Caller, params: dict[str, str], seen: set[str]
) -> None:
    found = await desk.ask("listAccounts", by, **params)
    assert {row["name"] for row in found["account"]} == seen


async def test_a_domain_admin_lists_his_domains(desk: Desk) -> None:
    own = await desk.ask("listDomains", BOSS)
    under = await desk.ask("listDomains", BOSS, listall="true")
    assert [row["path"] for row in own["domain"]] == ["ROOT/acme"]
    assert [row["path"] for row in under["domain"]] == ["ROOT/acme", "ROOT/acme/labs"]
    assert own["domain"][0]["haschild"] is True


async def test_room_is_shown_when_asked_for(five: Desk) -> None:
    for command, key in (("listZones", "zone"), ("listPods", "pod"), ("listClusters", "cluster")):
        plain = await five.ask(command)
        assert "capacity" not in plain[key][0]
        full = await five.ask(command, showcapacities="true")
        memory, cpu, disk = full[key][0]["capacity"]
        assert (memory["capacitytotal"], memory["capacityused"]) == (16384 * 2**20, 5 * 512 * 2**20)
        assert (cpu["capacitytotal"], cpu["capacityused"]) == (16000, 2500)
        assert disk["capacityused"] == 10 * 2**30


async def test_a_host_shows_what_is_given_out(five: Desk) -> None:
    (host,) = (await five.ask("listHosts", type="Routing"))["host"]
    assert (host["memoryallocated"], host["cpuallocatedvalue"]) == (5 * 512 * 2**20, 2500)
    await five.plant(seeds.machine(6, NET))
    (host,) = (await five.ask("listHosts"))["host"]
    assert host["cpuallocatedvalue"] == 3000
    assert await five.ask("listHosts", type="SecondaryStorage") == {}


async def test_answers_are_one_line(five: Desk) -> None:
    for response in ("json", "xml"):
        reply = await five.reply("listVirtualMachines", response=response, listall="true")
        assert b"\n" not in reply.body


async def test_nothing_null_is_sent(five: Desk) -> None:
    def nulls(value: Any) -> int:
        if isinstance(value, dict):
            return sum(nulls(v) for v in value.values())  # pyright: ignore
        if isinstance(value, list):
            return sum(nulls(v) for v in value)  # pyright: ignore
        return value is None

    for command in ("listVirtualMachines", "listVolumes", "listNetworks", "listUsers"):
        reply = await five.reply(command, response="json", listall="true")
        assert nulls(msgspec.json.decode(reply.body)) == 0
