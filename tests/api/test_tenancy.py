"""Tenancy, row by row: who may see what, which lists may be asked, who owns what is made."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.api.about import Rank
from csnode.api.reach import ALL, Scope, account_named, chain, may_see, owner, scope, within
from csnode.faults import Denied, Invalid
from csnode.model.event import UserEvent
from csnode.model.identity import Account, Domain, User
from csnode.model.offering import Offering
from csnode.model.place import Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, LAB, Desk, caller

NAMES = {"admin": ADMIN, "boss": BOSS, "alice": ALICE, "bob": BOB, "lab": LAB}
OTHER_BOSS = caller(seeds.BOB, seeds.OTHER, Rank.DOMAIN_ADMIN)
EVERYBODY = set(NAMES)
MACHINE, LABS, FOREIGN = seeds.uuid(1_000_001), seeds.uuid(1_000_002), seeds.uuid(1_000_003)
OF_LABS, NEAR, ORPHAN, EVENT = (seeds.uuid(number) for number in (61, 62, 63, 64))


@pytest.fixture
async def cloud(desk: Desk) -> Desk:
    """A machine of alice in acme, one of lab in acme/labs below it, one of bob elsewhere."""
    net = seeds.uuid(500)
    await desk.plant(
        [
            *seeds.network(net),
            *seeds.machine(1, net),
            *seeds.machine(2, net, account=seeds.LAB, domain=seeds.ACME_LABS),
            *seeds.machine(3, net, account=seeds.BOB, domain=seeds.OTHER),
            Domain(id=NEAR, name="acme2", path="ROOT/acme2", parent=seeds.ROOT, level=1),
            Account(id=OF_LABS, name="alice", domain=seeds.ACME_LABS, created=7.0),
            Offering(id=ORPHAN, name="near", cpus=1, memory_mib=512, domain=NEAR),
            UserEvent(
                id=EVENT, type="VM.CREATE", description="x", account=seeds.ALICE, domain=seeds.ACME
            ),
        ]
    )
    await desk.api.view.fresh()
    return desk


SEEN: list[tuple[type[Any], str, set[str]]] = [
    (Vm, MACHINE, {"admin", "boss", "alice"}),
    (Vm, LABS, {"admin", "boss", "lab"}),
    (Vm, FOREIGN, {"admin", "bob"}),
    (Account, seeds.ALICE, {"admin", "boss", "alice"}),
    (Account, seeds.BOB, {"admin", "bob"}),
    (Account, seeds.ADMIN, {"admin"}),
    (User, seeds.user_of(seeds.LAB), {"admin", "boss", "lab"}),
    (Template, seeds.IMAGE, EVERYBODY),
    (Template, seeds.PRIVATE_IMAGE, {"admin", "boss", "alice"}),
    (Zone, seeds.ZONE, EVERYBODY),
    (Offering, seeds.SMALL, EVERYBODY),
    (Offering, seeds.ACME_OFFERING, {"admin", "boss", "alice", "lab"}),
    (Offering, ORPHAN, {"admin"}),
]


async def test_a_row_is_seen_by_its_account_and_those_who_rule_it(cloud: Desk) -> None:
    view = cloud.api.view
    for kind, id, by in SEEN:
        row = view.get(kind, id)
        found = {name for name, who in NAMES.items() if may_see(who, row, view)}
        assert found == by, f"{kind.kind} {id}"


async def test_a_job_is_seen_through_the_domain_of_its_account(cloud: Desk) -> None:
    """A job names an account and no domain."""
    by_whom = ((ALICE, MACHINE, {"admin", "boss", "alice"}), (BOB, FOREIGN, {"admin", "bob"}))
    for account, id, by in by_whom:
        ordered = await cloud.ask("stopVirtualMachine", account, id=id)
        for name, who in NAMES.items():
            reply = await cloud.reply("queryAsyncJobResult", who, jobid=ordered["jobid"])
            assert (reply.status == 200) is (name in by), name


DENIED = "denied"
SCOPES: list[tuple[str, dict[str, Any], Scope | str]] = [
    ("admin", {}, Scope(what="account", id=seeds.ADMIN)),
    ("admin", {"all": True}, ALL),
    ("admin", {"domain": seeds.OTHER}, Scope(what="in", id=seeds.OTHER)),
    ("admin", {"domain": seeds.OTHER, "recursive": True}, Scope(what="under", id=seeds.OTHER)),
    ("admin", {"account": "bob", "domain": seeds.OTHER}, Scope(what="account", id=seeds.BOB)),
    ("boss", {}, Scope(what="account", id=seeds.BOSS)),
    ("boss", {"all": True}, Scope(what="under", id=seeds.ACME)),
    ("boss", {"domain": seeds.ACME}, Scope(what="in", id=seeds.ACME)),
    ("boss", {"domain": seeds.ACME_LABS}, Scope(what="in", id=seeds.ACME_LABS)),
    ("boss", {"domain": seeds.ACME, "recursive": True}, Scope(what="under", id=seeds.ACME)),
    ("boss", {"domain": seeds.OTHER}, DENIED),
    ("boss", {"domain": seeds.OTHER, "recursive": True}, DENIED),
    ("boss", {"domain": seeds.ROOT}, DENIED),
    ("boss", {"domain": NEAR}, DENIED),
    ("boss", {"account": "alice"}, Scope(what="account", id=seeds.ALICE)),
    ("boss", {"account": "alice", "domain": seeds.ACME_LABS}, Scope(what="account", id=OF_LABS)),
    ("boss", {"account": "bob", "domain": seeds.OTHER}, DENIED),
    ("alice", {}, Scope(what="account", id=seeds.ALICE)),
    ("alice", {"all": True}, Scope(what="account", id=seeds.ALICE)),
    ("alice", {"domain": seeds.ACME}, Scope(what="account", id=seeds.ALICE)),
    ("alice", {"domain": seeds.ACME, "recursive": True}, Scope(what="account", id=seeds.ALICE)),
    ("alice", {"domain": seeds.ACME_LABS}, DENIED),
    ("alice", {"domain": seeds.OTHER}, DENIED),
    ("alice", {"account": "alice"}, Scope(what="account", id=seeds.ALICE)),
    ("alice", {"account": "boss"}, DENIED),
    ("alice", {"account": "lab", "domain": seeds.ACME_LABS}, DENIED),
]


async def test_a_list_reaches_as_far_as_its_caller(cloud: Desk) -> None:
    for who, asked, expected in SCOPES:
        wish: dict[str, Any] = {"account": None, "domain": None, "recursive": False, "all": False}
        if expected == DENIED:
            with pytest.raises(Denied) as caught:
                scope(NAMES[who], cloud.api.view, **wish | asked)
            assert caught.value.code == 531, f"{who} {asked}"
        else:
            found = scope(NAMES[who], cloud.api.view, **wish | asked)
            assert found == expected, f"{who} {asked}"


LISTED = "listVirtualMachines"


async def test_a_domain_admin_lists_no_other_domain(cloud: Desk) -> None:
    for domain in (seeds.OTHER, seeds.ROOT, NEAR):
        for more in ({}, {"isrecursive": "true"}, {"listall": "true"}):
            assert (await cloud.refused(LISTED, BOSS, domainid=domain, **more))["errorcode"] == 531
    below = await cloud.ask(LISTED, BOSS, domainid=seeds.ACME_LABS)
    assert [vm["id"] for vm in below["virtualmachine"]] == [LABS]
    both = await cloud.ask(LISTED, BOSS, domainid=seeds.ACME, isrecursive="true")
    assert {vm["id"] for vm in both["virtualmachine"]} == {MACHINE, LABS}


async def test_an_account_is_named_within_a_domain(cloud: Desk) -> None:
    view = cloud.api.view
    assert account_named(BOSS, view, "alice", None).id == seeds.ALICE
    assert account_named(BOSS, view, "alice", seeds.ACME_LABS).id == OF_LABS
    for name, domain in (("nobody", None), ("bob", None), ("alice", seeds.OTHER)):
        with pytest.raises(Invalid, match=f"could not find account {name}"):
            account_named(BOSS, view, name, domain)


async def test_what_is_made_belongs_to_its_maker_unless_an_account_is_named(cloud: Desk) -> None:
    view = cloud.api.view
    assert owner(ALICE, view, "", None).id == seeds.ALICE
    assert owner(ALICE, view, "", seeds.ACME).id == seeds.ALICE
    assert owner(BOSS, view, "alice", None).id == seeds.ALICE
    with pytest.raises(Denied):
        owner(ALICE, view, "boss", None)
    with pytest.raises(Invalid, match="domainid needs account"):
        owner(BOSS, view, "", seeds.ACME_LABS)


async def test_domains_are_a_tree(cloud: Desk) -> None:
    view = cloud.api.view
    assert chain(view, seeds.ACME_LABS) == [seeds.ACME_LABS, seeds.ACME, seeds.ROOT]
    assert chain(view, seeds.uuid(99)) == [seeds.uuid(99)]
    assert within(view, seeds.ACME_LABS, seeds.ROOT)
    assert within(view, seeds.uuid(99), seeds.uuid(99))
    assert not within(view, seeds.ROOT, seeds.ACME)
    assert not within(view, NEAR, seeds.ACME)  # its path begins with the letters of the other's
    assert not within(view, seeds.uuid(99), seeds.ACME)
