"""Whose the rows of each kind are: every kind, every rank, against a table of its own."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from csnode import types
from csnode.api.about import Rank
from csnode.api.call import NOBODY, Caller
from csnode.api.reach import may_see
from csnode.faults import Broken
from csnode.model.entity import Entity, Ref, Was
from csnode.model.identity import Account, Domain, User
from csnode.model.owner import (
    ByAccount,
    ByDomain,
    Everyone,
    OfferedTo,
    Operators,
    Ownership,
    Through,
)
from csnode.model.vm import Vm
from csnode.plugins import entity_kinds
from tests.specimen import specimen

OURS = {n: k for n, k in entity_kinds().items() if k.__module__.startswith("csnode.model.")}
PATHS = {"root": "ROOT", "acme": "ROOT/acme", "labs": "ROOT/acme/labs", "near": "ROOT/acme2"}


def caller(account: str, domain: str, rank: Rank = Rank.USER) -> Caller:
    ids = types.UserId(f"user of {account}"), types.AccountId(account), types.DomainId(domain)
    return Caller(user=ids[0], account=ids[1], domain=ids[2], rank=rank)


CALLERS = {
    "root admin": caller("admin", "root", Rank.ROOT_ADMIN),
    "admin of all domains": caller("top", "root", Rank.DOMAIN_ADMIN),
    "admin of its domain": caller("boss", "acme", Rank.DOMAIN_ADMIN),
    "admin of a domain below": caller("labboss", "labs", Rank.DOMAIN_ADMIN),
    "admin of another domain": caller("nearboss", "near", Rank.DOMAIN_ADMIN),
    "owner": caller("alice", "acme"),
    "another user of the owner": Caller(
        user=types.UserId("another"),
        account=types.AccountId("alice"),
        domain=types.DomainId("acme"),
        rank=Rank.USER,
    ),
    "neighbour": caller("carol", "acme"),
    "user of a domain below": caller("lab", "labs"),
    "user above": caller("eve", "root"),
    "stranger": caller("bob", "near"),
    "nobody": NOBODY,
}
"""Who asks, as seen from what belongs to the account alice in the domain acme."""

ROOTS = {"root admin"}
RULERS = ROOTS | {"admin of all domains", "admin of its domain"}
TENANT = RULERS | {"owner", "another user of the owner"}
MEMBERS = TENANT | {"neighbour"}
BELOW = MEMBERS | {"admin of a domain below", "user of a domain below"}
EVERYBODY = set(CALLERS)

OWN = {"account": "alice", "domain": "acme"}
SEEN: dict[str, tuple[set[str], dict[str, Any]]] = {
    "account": (TENANT, {"id": "alice", "domain": "acme"}),
    "alert": (ROOTS, {}),
    "cancel": (ROOTS, {"id": "job of alice"}),
    "cluster": (ROOTS, {}),
    "disk_offering": (BELOW, {"domain": "acme"}),
    "domain": (MEMBERS, {"id": "acme", "path": PATHS["acme"]}),
    "event": (TENANT, OWN),
    "host": (ROOTS, {}),
    "invite": (ROOTS, {}),
    "job": (TENANT, {"account": "alice"}),
    "lease": (ROOTS, {}),
    "lock": (ROOTS, {"job": "job of alice"}),
    "network": (TENANT, OWN),
    "network_offering": (EVERYBODY, {}),
    "nic": (TENANT, {"vm": "vm of alice"}),
    "offering": (BELOW, {"domain": "acme"}),
    "os_type": (EVERYBODY, {}),
    "physical_network": (ROOTS, {}),
    "pod": (ROOTS, {}),
    "pool": (ROOTS, {}),
    "range": (ROOTS, {"id": "guest:network of alice"}),
    "retired": (ROOTS, {}),
    "seat": (ROOTS, {}),
    "session": (TENANT, {"user": "user of alice"}),
    "taken": (ROOTS, {"owner": "vm of alice"}),
    "tally": (ROOTS, {"id": "account:alice"}),
    "template": (TENANT, OWN),
    "traffic_type": (ROOTS, {}),
    "user": (TENANT, OWN),
    "vm": (TENANT, OWN),
    "volume": (TENANT, OWN),
    "zone": (EVERYBODY, {}),
}
"""By kind: who sees a row of it that has these columns."""

ALSO: list[tuple[str, set[str], dict[str, Any]]] = [
    ("template", EVERYBODY, OWN | {"public": True}),
    ("template", EVERYBODY, OWN | {"featured": True}),
    ("offering", EVERYBODY, {"domain": None}),
    ("disk_offering", EVERYBODY, {"domain": None}),
    ("job", ROOTS, {"account": None}),  # nobody asked for it
    ("job", ROOTS, {"account": ""}),
    ("job", ROOTS | {"owner", "another user of the owner"}, {"account": "alice", "gone": True}),
    ("nic", ROOTS, {"vm": "a machine that is gone"}),
    ("session", ROOTS, {"user": "a user who is gone"}),
]
"""The same kinds, where other columns decide. `gone`: the account's row is no longer there."""


class Rows:
    """What deciding reads of a view: rows by kind and id."""

    def __init__(self, *rows: Entity) -> None:
        self._rows = {(row.kind, row.id): row for row in rows}

    def maybe(self, kind: type[Entity], id: str | None) -> Any:
        return self._rows.get((kind.kind, id or ""))


def cloud(without: str = "") -> Any:
    rows = [
        *(specimen(Domain, id, path=path) for id, path in PATHS.items()),
        specimen(Account, "alice", domain="acme"),
        specimen(User, "user of alice", **OWN),
        specimen(Vm, "vm of alice", **OWN),
    ]
    return Rows(*(row for row in rows if row.id != without))


def seeing(kind: str, columns: dict[str, Any]) -> set[str]:
    columns = dict(columns)
    view = cloud(without="alice" if columns.pop("gone", False) else "")
    id = columns.pop("id", f"{kind}-1")
    row = specimen(OURS[kind], id, **columns)
    return {name for name, who in CALLERS.items() if may_see(who, row, view)}


@pytest.mark.parametrize("kind", OURS)
def test_a_row_is_seen_by_whom_the_table_names_and_by_no_other(kind: str) -> None:
    assert kind in SEEN, f"say here who may see a {kind}"
    by, columns = SEEN[kind]
    assert seeing(kind, columns) == by


@pytest.mark.parametrize(("kind", "by", "columns"), ALSO)
def test_columns_decide_where_the_kind_says_so(
    kind: str, by: set[str], columns: dict[str, Any]
) -> None:
    assert seeing(kind, columns) == by


@pytest.mark.parametrize("kind", OURS)
def test_a_kind_that_names_its_account_belongs_to_it(kind: str) -> None:
    """Derived from the columns, so that a kind made public by mistake is noticed."""
    to = {column: ref.to for column, ref in OURS[kind].refs().items()}
    if to.get("account") == "account":
        assert isinstance(OURS[kind].owned_by, ByAccount)
    for column, ref in OURS[kind].refs().items():
        if ref.part and not isinstance(OURS[kind].owned_by, ByAccount):
            assert OURS[kind].owned_by == Through(column=column, to=ref.to)


# -- what is refused when it is declared -----------------------------------------------------------


def declared(
    owner: Ownership | None,
    kind: str = "declared_here",
    base: type[Entity] = Entity,
    **columns: Any,
) -> type[Entity]:
    """A kind of row, made as a class statement makes it."""
    body: dict[str, Any] = {"kind": kind, "__module__": __name__, "__annotations__": columns}
    if owner is not None:
        body["owned_by"] = owner
    meta: Any = type(Entity)
    return meta("DeclaredHere", (base,), body)


VM = Annotated[str, Ref(to="vm")]
REFUSED: list[tuple[Ownership | None, dict[str, Any], str]] = [
    (None, {}, "does not declare whose its rows are"),
    (Through(column="vm"), {}, "column vm, which does not name one row"),
    (Through(column="vm"), {"vm": str}, "column vm, which does not name one row"),
    (Through(column="vm"), {"vm": Annotated[tuple[str, ...], Ref(to="vm")]}, "column vm"),
    (Through(column="vm"), {"vm": Annotated[str, Was(to="")]}, "column vm"),
    (Through(column="id"), {}, "declared_here -> declared_here"),
    (Through(column="up"), {"up": Annotated[str, Ref(to="declared_here")]}, "in a circle"),
    (ByAccount(), {}, "column account"),
    (ByAccount(domain=None), {"account": str}, "column account"),
    (ByAccount(account="vm", domain=None), {"vm": VM}, "of the kind account"),
    (ByAccount(account="id", domain=None), {}, "of the kind account"),
    (ByAccount(), {"account": Annotated[str, Ref(to="account")]}, "column domain"),
    (
        ByAccount(domain=None, open_if=("public",)),
        {"account": Annotated[str, Ref(to="account")]},
        "column public, which it does not have",
    ),
    (ByDomain(), {"domain": str}, "column domain"),
    (OfferedTo(), {}, "column domain"),
]


@pytest.mark.parametrize(("owner", "columns", "why"), REFUSED)
def test_a_kind_whose_owner_cannot_be_found_is_refused(
    owner: Ownership | None, columns: dict[str, Any], why: str
) -> None:
    with pytest.raises(Broken, match=why):
        declared(owner, **columns)


def test_kinds_that_belong_to_each_other_are_refused() -> None:
    egg = declared(Through(column="hen"), "egg", hen=Annotated[str, Ref(to="hen")])
    with pytest.raises(Broken, match="hen -> egg -> hen"):
        declared(Through(column="egg"), "hen", egg=Annotated[str, Ref(to="egg")])
    with pytest.raises(Broken, match="no kind 'hen' is declared"):
        may_see(CALLERS["owner"], specimen(egg, "1", hen="2"), cloud())


def test_a_kind_that_inherits_its_owner_is_refused_too() -> None:
    with pytest.raises(Broken, match="does not declare"):
        declared(None, "clone", Vm)


def test_owners_go_through_several_rows() -> None:
    class Lamp(Entity):
        kind = "lamp"
        owned_by = Through(column="nic")
        nic: Annotated[str | None, Ref(to="nic")] = None

    nic = specimen(OURS["nic"], "nic of alice", vm="vm of alice")
    vm = specimen(Vm, "vm of alice", **OWN)
    view: Any = Rows(nic, vm, *(specimen(Domain, id, path=path) for id, path in PATHS.items()))
    for lit, by in (("nic of alice", TENANT), (None, ROOTS)):
        lamp = Lamp(id="1", nic=lit)
        assert {name for name, who in CALLERS.items() if may_see(who, lamp, view)} == by


def test_what_is_no_kind_needs_no_owner() -> None:
    """StepTime is a part of a job's row: it has no kind and is nowhere by itself."""

    class Part(Entity):
        text: str = ""

    assert Part.kind == ""


def test_the_ways_to_own_are_those_of_the_table() -> None:
    """Another one needs rows of its own above."""
    ways = {type(kind.owned_by) for kind in OURS.values()}
    assert ways == {ByAccount, ByDomain, OfferedTo, Everyone, Operators, Through}
    assert ways == set(Ownership.__subclasses__())
