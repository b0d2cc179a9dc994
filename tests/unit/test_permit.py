"""What each machine may see and write, against a table of its own: every kind, every role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from csnode.bus.local import LocalBus
from csnode.context import Principal, acting, prove
from csnode.contracts.data import (
    ChangeItem,
    Commit,
    Count,
    Create,
    Data,
    Delete,
    Give,
    Hold,
    Take,
    Update,
)
from csnode.data.rows import decoded, encoded
from csnode.directory.alone import AloneDirectory
from csnode.faults import Denied, Fault, Invalid
from csnode.model.entity import Entity
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.stock import Range
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.plugins import entity_kinds
from csnode.testing.data_cloud import created, template, vm
from csnode.types import ClusterId, HostId, NetworkId, PodId, Power, VmId, ZoneId
from roles.data import references
from roles.data.config import DataConfig
from roles.data.draft import Draft
from roles.data.kind import Pins
from tests.contract.data_writer import playing
from tests.specimen import specimen

CONTROLLING = ("api", "orchestrator", "data", "monitor", "fabric", "services")
HOSTING = ("compute", "network", "storage", "keeper")
HERE, THERE = "host-1", "host-2"
POOL = "pool-1"

# What a machine that only runs guests may read: freely and by the feed, or if it names the row.
FREELY: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("zone", "pod", "cluster", "host", "pool", "offering", "disk_offering", "network_offering",
     "os_type", "seat", "physical_network", "traffic_type"), HOSTING,
)  # fmt: skip
NAMED: dict[str, tuple[str, ...]] = {
    "vm": HOSTING,
    "job": HOSTING,
    "lock": HOSTING,
    "volume": ("storage",),
    "template": ("storage",),
    "network": ("network",),
    "nic": ("network",),
}
FACTS = {
    ("vm", "power"): "compute",
    ("template", "percent"): "storage",
    ("template", "waits"): "storage",
}
GUARDED: dict[str, tuple[str, ...]] = {
    "seat": ("fabric",),
    "invite": ("fabric",),
    "domain": ("api", "fabric"),
    "account": ("api", "fabric"),
    "user": ("api", "fabric"),
    "session": ("api",),
}
STOCK = ("taken", "tally", "lease")  # rows that only the data service writes


def machine(*roles: str, name: str = "box") -> Principal:
    return Principal(name=name, roles=frozenset(roles), places=frozenset({HERE, POOL}))


@pytest.fixture
async def data(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The data role itself: a call within a process proves nobody, so principals are given.

    Rows may name what is not there: that is another rule, with tests of its own.
    """

    def unchecked(draft: Draft, pins: Pins) -> None:
        del draft, pins

    monkeypatch.setattr(references, "check", unchecked)
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        yield bus.server_of(Data, None)


async def by(who: Principal, work: Callable[[], Awaitable[Any]]) -> Any:
    """The work's answer, as if the machine had asked for it; or the fault it ended with."""

    async def asked() -> Any:
        prove(who)
        try:
            return await work()
        except Fault as fault:
            return fault

    return await asyncio.create_task(asked())


async def commit(data: Any, *changes: ChangeItem, by: str = "") -> Any:
    return await data.commit(Commit(changes=changes, by=by))


def columns_of(kind: type[Entity]) -> list[str]:
    """Every fact, and one intent."""
    names = [f.name for f in msgspec.structs.fields(kind) if f.name not in ("id", "revision")]
    intents = [name for name in names if name not in kind.writers()]
    return [*kind.writers(), *intents[:1]]


async def filled(data: Any) -> None:
    await commit(data, *(created(specimen(k, f"{n}-1")) for n, k in entity_kinds().items()
                         if n not in STOCK))  # fmt: skip


async def test_each_role_reads_exactly_the_kinds_of_the_table(data: Any) -> None:
    await filled(data)
    for role in (*CONTROLLING, *HOSTING, "newcomer", "invented"):
        who = machine(role)
        for kind in entity_kinds():
            free = role in CONTROLLING or role in FREELY.get(kind, ())
            named = free or role in NAMED.get(kind, ())
            id = f"{kind}-1"
            for allowed, what, work in (
                (free, "all", lambda k=kind: data.find(k, {}, "", 10)),
                (free, "feed", lambda k=kind: data.feed(0, (k,), 10)),
                (named, "one", lambda k=kind, i=id: data.find(k, {"id": i}, "", 10)),
                (named, "get", lambda k=kind, i=id: data.get(k, i)),
                (named, "heads", lambda k=kind: data.heads((k,))),
                (named, "head", lambda k=kind: data.head((k,))),
            ):
                denied = isinstance(await by(who, work), Denied)
                assert denied is not allowed, (role, kind, what)


async def test_each_role_writes_exactly_the_columns_of_the_table(data: Any) -> None:
    await filled(data)
    here = vm("vm-here", host=HostId(HERE))
    await commit(data, created(here))
    for role in (*CONTROLLING, *HOSTING, "newcomer", "invented"):
        for kind, type in entity_kinds().items():
            row = here if kind == "vm" else specimen(type, f"{kind}-1")
            for column in columns_of(type):
                for name in {role, "api", "compute", "orchestrator", ""}:
                    text = encoded({column: getattr(row, column)})
                    change = Update(kind=kind, id=row.id, columns=text, by=name)
                    allowed = _may_write(role, name, kind, type, column)
                    said = await by(machine(role), lambda c=change: commit(data, c))
                    denied = isinstance(said, Denied)
                    assert denied is not allowed, (role, name, kind, column, said)


def _may_write(role: str, name: str, kind: str, type: type[Entity], column: str) -> bool:
    if role not in CONTROLLING:
        return name == role and FACTS.get((kind, column)) == role
    writer = type.writers().get(column)
    if kind in STOCK or name not in (role, "") or role not in GUARDED.get(kind, (role,)):
        return False
    return writer == name if writer else name != "monitor" or kind == "alert"


async def test_each_role_makes_and_deletes_exactly_the_kinds_of_the_table(data: Any) -> None:
    for role in (*CONTROLLING, *HOSTING, "newcomer", "invented"):
        for kind, type in entity_kinds().items():
            allowed = role in CONTROLLING and role in GUARDED.get(kind, (role,))
            row = specimen(type, f"{kind}-{role}")
            making = Create(kind=kind, id=row.id, row=encoded(row))
            said = await by(machine(role), lambda c=making: commit(data, c))
            assert isinstance(said, Denied) is not (allowed and kind not in STOCK), (role, kind)
            unmaking = Delete(kind=kind, id=row.id)
            said = await by(machine(role), lambda c=unmaking: commit(data, c))
            allowed = allowed and kind != "taken"
            if kind != "lease":
                assert isinstance(said, Denied) is not allowed, (role, kind, said)


async def test_only_controlling_machines_take_give_count_and_hold(data: Any) -> None:
    await commit(data, created(Range(id="r", low=1, high=100)))
    for role in (*CONTROLLING, *HOSTING, "newcomer"):
        for change in (
            Take(range="r", owner=role),
            Give(owner=role),
            Count(owner=role, by={"cpu": 1}),
            Hold(name=role, holder="box/it", seconds=1.0),
        ):
            said = await by(machine(role), lambda c=change: commit(data, c))
            assert isinstance(said, Denied) is not (role in CONTROLLING), (role, change)


async def test_nobody_commits_or_holds_in_another_machines_or_roles_name(data: Any) -> None:
    who = machine("api")
    for name, allowed in (
        ("api@box/api", True),
        ("api@box", True),
        ("api", True),
        ("api@boxer/api", False),
        ("api@other/api", False),
        ("orchestrator@box/all", False),
        ("orchestrator", False),
    ):
        said = await by(who, lambda n=name: commit(data, by=n))
        assert isinstance(said, Denied) is not allowed, name
    for holder, allowed in (("box/api", True), ("box", True), ("boxer/api", False)):
        hold = Hold(name=holder, holder=holder, seconds=1.0)
        said = await by(who, lambda h=hold: commit(data, h))
        assert isinstance(said, Denied) is not allowed, holder


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ({"host": HERE}, True),
        ({"host": THERE}, False),
        ({"host": THERE, "last_host": HERE}, False),
        ({"host": THERE, "maybe_on": (HERE,)}, False),
        ({"last_host": HERE}, True),
        ({"maybe_on": (THERE, HERE)}, True),
        ({"maybe_on": (THERE,)}, False),
        ({}, False),
    ],
)
async def test_a_host_reports_the_power_of_its_own_machines(
    data: Any, where: dict[str, Any], allowed: bool
) -> None:
    await commit(data, created(vm("v", **where)))
    change = Update(kind="vm", id="v", columns=encoded({"power": Power.ON}), by="compute")
    said = await by(machine("compute"), lambda: commit(data, change, by="compute@box/compute"))
    assert isinstance(said, Denied) is not allowed
    row = decoded(Vm, (await data.get("vm", "v")).row)
    assert (row.power is Power.ON) is allowed


@pytest.mark.parametrize("word", ["x\x1ey\x1fz", "x\n", "\x00", "x" * 513])
@pytest.mark.parametrize("where", ["by", "token", "trace", "caller"])
async def test_what_is_no_word_never_comes_into_the_history(
    data: Any, where: str, word: str
) -> None:
    await commit(data, created(vm("v", host=HERE)))
    fact = Update(kind="vm", id="v", columns=encoded({"power": "on"}), by="compute")
    names = {where: word}

    async def report() -> None:
        with acting(trace=names.get("trace"), caller=names.get("caller")):
            about = {"by": names.get("by", ""), "token": names.get("token", "")}
            await data.commit(Commit(changes=(fact,), **about))

    assert isinstance(await by(machine("compute"), report), Invalid)
    assert len(await data.past.since(0, 9)) == 1
    assert len(await data.history("v", "", 9)) == 1


async def test_a_refused_change_takes_the_whole_commit_with_it(data: Any) -> None:
    here, there = vm("here", host=HostId(HERE)), vm("there", host=HostId(THERE))
    await commit(data, created(here), created(there))
    changes = [
        Update(kind="vm", id=row.id, columns=encoded({"power": Power.ON}), by="compute")
        for row in (here, there)
    ]
    said = await by(machine("compute"), lambda: commit(data, *changes))
    assert isinstance(said, Denied)
    assert "there" in said.message
    assert "box" in said.message
    assert decoded(Vm, (await data.get("vm", "here")).row).power is Power.ABSENT


async def machines(data: Any) -> None:
    """One machine here, one elsewhere; one elsewhere, but in a network whose router is here."""
    secrets: dict[str, Any] = {"user_data": "c2VjcmV0", "public_key": "ssh-rsa"}
    await commit(
        data,
        created(vm("mine", host=HostId(HERE), **secrets)),
        created(vm("other", host=HostId(THERE), **secrets)),
        created(vm("routed", host=HostId(THERE), **secrets)),
        *(
            created(_network(id, HostId(router)))
            for id, router in (("n-here", HERE), ("n-there", THERE))
        ),
        *(
            created(Nic(id=f"nic-{of}", vm=VmId(of), network=NetworkId(network), mac="02:aa"))
            for of, network in (("mine", "n-there"), ("other", "n-there"), ("routed", "n-here"))
        ),
    )


def _network(id: str, router: HostId) -> Network:
    row = specimen(Network, id)
    assert isinstance(row, Network)
    return msgspec.structs.replace(row, router=router, public_address="198.51.100.9")


async def test_a_host_sees_the_secrets_of_its_own_machines_only(data: Any) -> None:
    await machines(data)
    for role, seen in (("compute", {"mine"}), ("network", {"mine", "routed"})):
        who = machine(role)
        ids = ("mine", "other", "routed")
        found = await by(who, lambda i=ids: data.find("vm", {"id": i}, "", 10))
        rows = {row.id: decoded(Vm, row.row) for row in found}
        assert {id for id, row in rows.items() if row.user_data} == seen
        assert {id for id, row in rows.items() if row.public_key} == seen
        assert {id for id, row in rows.items() if row.name} == seen
        assert rows["other"].host == THERE  # where it belongs it may know
        one = decoded(Vm, (await by(who, lambda w=who: data.get("vm", "other"))).row)
        assert one == rows["other"]


async def test_a_host_cannot_ask_what_another_host_has(data: Any) -> None:
    await machines(data)
    who = machine("compute", "network", "storage")
    for kind, where in (
        ("vm", {"host": THERE}),
        ("vm", {"host": (HERE, THERE)}),
        ("vm", {"host": None}),
        ("vm", {"account": "a1"}),
        ("network", {"router": THERE}),
        ("volume", {"pool": "pool-2"}),
        ("job", {"state": "running"}),
        ("nic", {}),
    ):
        said = await by(who, lambda k=kind, w=where: data.find(k, w, "", 10))
        assert isinstance(said, Denied), (kind, where)
    found = await by(who, lambda: data.find("vm", {"host": (HERE,)}, "", 10))
    assert [row.id for row in found] == ["mine"]


async def test_a_host_sees_the_cards_that_its_router_serves_and_its_machines_have(
    data: Any,
) -> None:
    await machines(data)
    who = machine("network")
    found = await by(who, lambda: data.find("nic", {"network": ("n-here", "n-there")}, "", 10))
    macs = {row.id: decoded(Nic, row.row).mac for row in found}
    assert macs == {"nic-mine": "02:aa", "nic-other": "", "nic-routed": "02:aa"}
    found = await by(who, lambda: data.find("network", {"id": ("n-here", "n-there")}, "", 10))
    public = {row.id: decoded(Network, row.row).public_address for row in found}
    assert public == {"n-here": "198.51.100.9", "n-there": ""}


async def test_a_host_learns_of_a_job_only_whether_it_is_open(data: Any) -> None:
    job = Job(id="j", verb="deploy_vm", order={"secret": 1}, object_id="v", trace="t",
              needs=("vm:v",), results={"secret": 2})  # fmt: skip
    await commit(data, created(job))
    found = await by(machine("storage"), lambda: data.find("job", {"object_id": "v"}, "", 10))
    (row,) = (decoded(Job, row.row) for row in found)
    assert row.open
    assert (row.order, row.results, row.trace, row.needs) == ({}, {}, "", ())


async def test_a_host_learns_no_address_of_an_image(data: Any) -> None:
    row = msgspec.structs.replace(template("t"), url="http://user:secret@images/x")
    await commit(data, created(row))
    found = await by(machine("storage"), lambda: data.get("template", "t"))
    assert decoded(Template, found.row).url == ""


async def test_history_tells_a_host_only_whether_an_id_is_known(data: Any) -> None:
    await commit(data, created(vm("v", user_data="c2VjcmV0")))
    who = machine("compute")
    (past,) = await by(who, lambda: data.history("v", "", 10))
    assert (past.entry.row, past.by, past.trace, past.kind) == (b"", "", "", "")
    assert await by(who, lambda: data.history("unknown", "", 10)) == ()
    assert isinstance(await by(who, lambda: data.history("", "trace", 10)), Denied)
    (past,) = await by(machine("api"), lambda: data.history("v", "", 10))
    assert b"c2VjcmV0" in past.entry.row


async def test_the_rows_of_hosts_go_without_what_fences_them(data: Any) -> None:
    row = Host(
        id=HERE,
        name="h",
        zone=ZoneId(""),
        pod=PodId(""),
        cluster=ClusterId(""),
        fence_options={"password": "secret"},
    )
    await commit(data, created(row))
    who = machine("compute")
    feed = await by(who, lambda: data.feed(0, ("host",), 10))
    found = await by(who, lambda: data.find("host", {}, "", 10))
    assert b"secret" not in feed.entries[0][1].row
    assert b"secret" not in found[0].row
    assert b"secret" in (await data.get("host", HERE)).row
