"""Every command, asked by another tenant: ids of others are as unknown as none, lists show none.

What is asked follows from the commands' declarations, so a new command is tried at once; an id of
a kind that has no row here fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from csnode.api.about import Field, Rank, fields_of
from csnode.api.call import Caller
from csnode.api.command import Answers, Declaration, load_commands
from csnode.api.parse import UUID
from csnode.api.reach import may_see, owner_of
from csnode.api.refers import Reference, named_kind, references
from csnode.model.alert import Alert
from csnode.model.entity import declared_kind
from csnode.model.event import UserEvent
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account, Domain, User
from csnode.model.job import Job, JobState
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.owner import Everyone
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from roles.api.views.job import INSTANCE_TYPES
from tests.api import seeds
from tests.api.conftest import ADMIN, BOB, BOSS, LAB, Desk, caller

OTHER_BOSS = caller(seeds.BOB, seeds.OTHER, Rank.DOMAIN_ADMIN)
LABS_BOSS = caller(seeds.LAB, seeds.ACME_LABS, Rank.DOMAIN_ADMIN)
NET, BOBS_NET, LABS_NET = seeds.uuid(500), seeds.uuid(501), seeds.uuid(502)
ALICES, LABS, BOBS = seeds.uuid(1_000_001), seeds.uuid(1_000_002), seeds.uuid(1_000_003)
EVENT, BOBS_EVENT, JOB, BOBS_JOB, ITS_OWN = (seeds.uuid(700 + n) for n in range(5))
PHYSICAL, TRAFFIC, ALERT, ACMES_DISK = (seeds.uuid(710 + n) for n in range(4))
UNKNOWN = seeds.uuid(987_654)

FOREIGN: dict[type[Any], str] = {
    Vm: ALICES, Nic: seeds.uuid(2_000_001), Volume: seeds.uuid(3_000_001), Network: NET,
    Template: seeds.PRIVATE_IMAGE, Account: seeds.ALICE, User: seeds.user_of(seeds.ALICE),
    Domain: seeds.ACME, Offering: seeds.ACME_OFFERING, DiskOffering: ACMES_DISK,
    UserEvent: EVENT, Job: JOB,
    Host: seeds.HOST, StoragePool: seeds.POOL, Pod: seeds.POD, Cluster: seeds.CLUSTER,
    PhysicalNetwork: PHYSICAL, TrafficType: TRAFFIC, Alert: ALERT,
}  # fmt: skip
"""A row of each kind that neither bob nor his domain's admin sees: alice's, or the operators'."""

OWN: dict[type[Any], str] = {
    Vm: BOBS, Nic: seeds.uuid(2_000_003), Volume: seeds.uuid(3_000_003), Network: BOBS_NET,
    Template: seeds.IMAGE, Account: seeds.BOB, User: seeds.user_of(seeds.BOB),
    Domain: seeds.OTHER, Offering: seeds.SMALL, DiskOffering: seeds.DISK, UserEvent: BOBS_EVENT,
    Job: BOBS_JOB, Zone: seeds.ZONE, NetworkOffering: seeds.NET_OFFERING, OsType: seeds.DEBIAN,
}  # fmt: skip
"""A row of each kind that bob may name."""

WORDS = {"integer": "1", "short": "1", "long": "1", "date": "2026-01-01", "boolean": "true"}
TEXTS = {"templatefilter": "executable", "format": "QCOW2", "url": "http://images.test/x.qcow2"}
BESIDE: dict[str, dict[str, str]] = {
    "domainid": {"account": "alice"},
    **{place: {"templateid": seeds.IMAGE} for place in ("hostid", "clusterid", "podid")},
}
"""By parameter: what else is said with it, so that the command looks at it."""


def job(id: str, account: str | None, of: str, created: float) -> Job:
    given: Any = {"account": account}
    return Job(id=id, verb="stop_vm", order={}, state=JobState.DONE, object_kind="vm", object_id=of,
               command="stopVirtualMachine", created=created, ended=created, **given)  # fmt: skip


def event(id: str, account: Any, domain: Any) -> UserEvent:
    return UserEvent(id=id, type="VM.CREATE", description="x", account=account, domain=domain)


@pytest.fixture
async def cloud(desk: Desk) -> Desk:
    """Alice has one of everything in acme, lab a machine in acme/labs, bob his own in other."""
    await desk.plant(
        [
            *seeds.network(NET),
            *seeds.network(BOBS_NET, seeds.BOB, seeds.OTHER),
            *seeds.network(LABS_NET, seeds.LAB, seeds.ACME_LABS),
            *seeds.machine(1, NET),
            *seeds.machine(2, LABS_NET, account=seeds.LAB, domain=seeds.ACME_LABS),
            *seeds.machine(3, BOBS_NET, account=seeds.BOB, domain=seeds.OTHER),
            DiskOffering(id=ACMES_DISK, name="Acme only", gib=5, domain=seeds.ACME),
            event(EVENT, seeds.ALICE, seeds.ACME),
            event(BOBS_EVENT, seeds.BOB, seeds.OTHER),
            job(JOB, seeds.ALICE, ALICES, 50.0),
            job(ITS_OWN, None, ALICES, 60.0),
            job(BOBS_JOB, seeds.BOB, BOBS, 50.0),
            PhysicalNetwork(id=PHYSICAL, zone=seeds.ZONE, name="cable"),
            TrafficType(id=TRAFFIC, physical_network=PHYSICAL, type="Guest"),
            Alert(id=ALERT, type=7, name="ALERT.HOST", text="gone"),
        ]
    )
    await desk.api.view.fresh()
    return desk


COMMANDS = load_commands()
NAMING = [d for d in COMMANDS.values() if references(d.request)]
FOR_TENANTS = [d for d in COMMANDS.values() if d.allows is not Rank.ROOT_ADMIN and not d.open]


def tenants(declared: Declaration) -> list[Caller]:
    """Other tenants that may ask for the command."""
    return [by for by in (BOB, OTHER_BOSS) if declared.allows <= by.rank]


def filled(declared: Declaration, **given: str) -> dict[str, str]:
    """A request with all that is required; ids are of rows that its caller may name."""
    needed = {f.name: _sample(f) for f in fields_of(declared.request) if f.required}
    said = {k: v for name in given for k, v in BESIDE.get(name, {}).items()}
    known = declared.table.readers
    return needed | {k: v for k, v in said.items() if k in known} | given


def _sample(field: Field) -> str:
    kind = named_kind(field)
    if kind is not None:
        return OWN.get(kind) or FOREIGN[kind]
    return TEXTS.get(field.name) or WORDS.get(field.word, "x")


def hidden(cloud: Desk, by: Caller) -> set[str]:
    """Ids (uuids) of rows that the caller may not see; but what he sees names who owns it."""
    view = cloud.api.view
    rows = [row for name in view for row in view.all(declared_kind(name))]
    seen = {row.id: owner_of(row, view) for row in rows if may_see(by, row, view)}
    owners = {id for owner in seen.values() for id in (owner.account, owner.domain)}
    return {row.id for row in rows if UUID.fullmatch(row.id)} - seen.keys() - owners


# -- ids -------------------------------------------------------------------------------------------


def invalid(reference: Reference, id: str) -> str:
    return f"Invalid parameter {reference.asked_as} value={id} due to"


async def test_an_id_of_nothing_is_refused_by_whatever_parameter(cloud: Desk) -> None:
    for declared in NAMING:
        for reference in references(declared.request):
            asked = filled(declared, **{reference.asked_as: UNKNOWN})
            refusal = await cloud.refused(declared.name, ADMIN, **asked)
            where = f"{declared.name} {reference.asked_as}"
            assert (refusal["errorcode"], refusal["cserrorcode"]) == (431, 9999), where
            assert invalid(reference, UNKNOWN) in refusal["errortext"], where
            assert "entity does not exist" in refusal["errortext"], where
    assert len(NAMING) > 70


async def test_another_tenants_id_is_as_unknown_as_none(cloud: Desk) -> None:
    """The words are the same, so that nobody learns which ids there are."""
    tried: set[type[Any]] = set()
    for declared in FOR_TENANTS:
        for reference in references(declared.request):
            if reference.unscoped or isinstance(reference.kind.owned_by, Everyone):
                continue
            where = f"{declared.name} {reference.asked_as}"
            assert reference.kind in FOREIGN, f"{where}: plant a {reference.kind.kind} of others"
            tried.add(reference.kind)
            for by in tenants(declared):
                told: list[str] = []
                for id in (FOREIGN[reference.kind], UNKNOWN):
                    asked = filled(declared, **{reference.asked_as: id})
                    refusal = await cloud.refused(declared.name, by, **asked)
                    assert invalid(reference, id) in refusal["errortext"], where
                    told.append(refusal["errortext"].replace(id, "ID"))
                assert told[0] == told[1], where
    assert {Vm, Network, Volume, Template, Job, Account, User, Domain, Host, Pod} <= tried


PLACES = {"hostid", "clusterid", "podid"}
ASKED_FOR = {
    "deployVirtualMachine": PLACES,
    "startVirtualMachine": PLACES,
    "queryAsyncJobResult": {"jobid"},
}
"""By command: the parameters that name rows which the caller may not see, domains aside."""
DOMAINS = {"listDomains.id", "listZones.domainid"}  # that are looked up like all other ids


async def test_who_names_what_he_may_not_see_is_refused_or_shown_nothing(cloud: Desk) -> None:
    """Where CloudStack says so (531), and only there: the list above is all of them."""
    for declared in FOR_TENANTS:
        for reference in references(declared.request):
            where = f"{declared.name}.{reference.asked_as}"
            named = ASKED_FOR.get(declared.name, set())
            is_domain = reference.kind is Domain and where not in DOMAINS
            assert reference.unscoped is (is_domain or reference.asked_as in named), where
            if not reference.unscoped:
                continue
            for by in tenants(declared):
                id = FOREIGN[reference.kind]
                asked = filled(declared, **{reference.asked_as: id})
                reply = await cloud.reply(declared.name, by, response="json", **asked)
                assert reply.status in (431, 531) or declared.answers is Answers.LIST, where
                shown = {x for x in hidden(cloud, by) - {id} if x.encode() in reply.body}
                assert not shown, where
                if reference.asked_as in named:
                    assert reply.status == 531, where


async def test_an_id_of_no_kind_tells_nothing_of_others(cloud: Desk) -> None:
    """Whatever row the id is of: the answer is that for an id of nothing."""
    tried: set[str] = set()
    for declared in FOR_TENANTS:
        free = [f for f in fields_of(declared.request) if f.free and f.word != "map"]
        for field in (f for f in free if f.about.allows is Rank.USER):
            tried.add(f"{declared.name}.{field.name}")
            for by in tenants(declared):
                for beside, ids in _free(declared, field):
                    said: list[tuple[int, bytes]] = []
                    for id in (*ids, UNKNOWN):
                        asked = filled(declared, **beside, **{field.name: id})
                        reply = await cloud.reply(declared.name, by, response="json", **asked)
                        said.append((reply.status, reply.body.replace(id.encode(), b"ID")))
                    assert set(said) == {said[-1]}, f"{declared.name} {field.name} {beside}"
    assert tried == {
        f"{name}.resourceid"
        for name in ("listAsyncJobs", "listEvents", "listJobQueue", "queryAsyncJobResult")
    }


def _free(declared: Declaration, field: Field) -> Iterator[tuple[dict[str, str], list[str]]]:
    """What is said beside the id, and ids of others that fit it."""
    if field.name == "resourceid":
        for kind, id in FOREIGN.items():
            yield {"resourcetype": INSTANCE_TYPES.get(kind.kind, kind.kind)}, [id]
    if "resourcetype" not in {f.name for f in fields_of(declared.request) if f.required}:
        yield {}, [*FOREIGN.values()]


async def test_a_chosen_id_that_another_tenant_has_is_not_looked_up(cloud: Desk) -> None:
    """Only root admins may choose one."""
    said: set[str] = set()
    for id in (ALICES, JOB, UNKNOWN):
        asked = filled(COMMANDS["deployvirtualmachine"], customid=id)
        refusal = await cloud.refused("deployVirtualMachine", BOB, **asked)
        said.add(refusal["errortext"].replace(id, "ID"))
    assert len(said) == 1


async def test_the_clouds_own_job_is_shown_to_no_tenant(cloud: Desk) -> None:
    """Its result would be the machine as it is now."""
    for by in (BOB, OTHER_BOSS, BOSS):
        refusal = await cloud.refused("queryAsyncJobResult", by, jobid=ITS_OWN)
        assert refusal["errorcode"] == 531
        for command in ("cancelAsyncJob", "listJobSteps"):
            refusal = await cloud.refused(command, by, jobid=ITS_OWN)
            assert "Invalid parameter jobid" in refusal["errortext"]
    assert (await cloud.ask("queryAsyncJobResult", ADMIN, jobid=ITS_OWN))["jobid"] == ITS_OWN


# -- lists -----------------------------------------------------------------------------------------

LISTS = [d for d in FOR_TENANTS if d.answers is Answers.LIST and not d.changes]


def wishes(declared: Declaration) -> Iterator[dict[str, str]]:
    """The ways to ask for a list: its switches, one or two at a time, and its filters."""
    fields = fields_of(declared.request)
    switches = [f.name for f in fields if f.word == "boolean"]
    filters = ["all", "executable", "self", "featured", "community"]
    whats = [{"templatefilter": what} for what in filters if declared.name == "listTemplates"]
    for what in whats or [{}]:
        for some in ((), *combinations(switches, 1), *combinations(switches, 2)):
            yield filled(declared, **what, **dict.fromkeys(some, "true"))


async def test_no_list_shows_a_row_that_its_caller_may_not_see(cloud: Desk) -> None:
    for by in (BOB, OTHER_BOSS, LAB, LABS_BOSS):
        secret = hidden(cloud, by)
        for declared in LISTS:
            for asked in wishes(declared) if declared.allows <= by.rank else ():
                reply = await cloud.reply(declared.name, by, response="json", **asked)
                shown = [id for id in secret - {*asked.values()} if id.encode() in reply.body]
                assert not shown, f"{declared.name} {asked} by {by.account}"
    assert len(LISTS) > 15


async def test_the_same_lists_show_these_rows_to_a_root_admin(cloud: Desk) -> None:
    """Or the test above would prove nothing."""
    shown = b""
    for declared in LISTS:
        for asked in wishes(declared):
            shown += (await cloud.reply(declared.name, ADMIN, response="json", **asked)).body
    kinds = {d.shows.of for d in LISTS if d.shows and d.shows.of.kind in cloud.api.view}
    rows = {kind: id for kind, id in FOREIGN.items() if kind in kinds}
    assert {kind for kind, id in rows.items() if id.encode() not in shown} == set()
    assert {Vm, Volume, Network, Template, Account, User, UserEvent, Job, Offering} <= set(rows)
