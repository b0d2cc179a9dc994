"""Ids of ranges, tallies, locks and leases: how rows have them, and who writes them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from csnode.context import caller_of, role_and_node
from csnode.directory.allowed import is_node_of, start_of
from csnode.model import ids
from csnode.model.orders import StartVm
from csnode.plugins import entity_kinds
from csnode.types import VmId

ROOT = Path(__file__).parents[2]
DOORS = {"csnode/model/ids.py", "csnode/context.py", "csnode/directory/allowed.py"}
ROWS = ("csnode/model", "csnode/data", "csnode/verify", "csnode/saga", "csnode/api", "roles/api",
        "roles/orchestrator", "roles/data", "roles/fabric")  # fmt: skip
SIGNS, CUTS = (":", "=", "/", "@", "#"), ("partition", "rpartition", "split")
FREE = {
    ("csnode/lease/redis.py", "lease:"),  # a key in Redis, and the backend's own
    ("roles/api/xml.py", "{}={}"),
    ("roles/data/postgres_hosts.py", "rpartition(@)"),  # of a URL
    ("roles/data/postgres_hosts.py", "rpartition(:)"),
    ("roles/data/postgres_hosts.py", "{}/{}"),  # a server's identity: system and timeline
    ("csnode/model/rules.py", "{}/{}"),  # an IPv4 prefix
}


def test_ids_are_stored_as_they_always_were() -> None:
    assert ids.guest_addresses("n1") == "guest:n1"
    assert ids.vnis("z1") == "vni:z1"
    assert ids.public_addresses("z1") == "public:z1"
    assert ids.VM_NUMBERS == "vm"
    assert ids.taken_value("guest:n1", 7) == "guest:n1=7"
    assert ids.account_usage("a1") == "account:a1"
    assert ids.failed_logins("u1") == "login:u1"
    assert ids.left_there("v1") == "left:v1"
    assert ids.orchestrator_lease("n#1") == "orchestrator/n#1"
    assert ids.in_network("n1", "WEB") == "n1/web"
    assert StartVm(vm=VmId("v1")).needs == ("vm:v1",)
    assert caller_of("api", "h/api") == "api@h/api"
    assert (caller_of("", "n"), caller_of("api", "")) == ("n", "api")
    assert start_of("h/api", "1") == "h/api#1"
    written = (ids.guest_addresses("n"), ids.VM_NUMBERS, ids.account_usage("a"))
    assert {type(each) for each in written} == {str}, "as rows and messages are written of it"


def test_what_is_written_can_be_read_again() -> None:
    assert ids.range_parts(ids.vnis("z:1")) == ("vni", "z:1")
    assert ids.range_parts(ids.VM_NUMBERS) == ("vm", "")
    assert ids.taken_parts(ids.taken_value("odd=1", 5)) == ("odd=1", 5)
    assert ids.left_in({"bytes": 5, ids.left_there("v:1"): 1}) == ["v:1"]
    assert ids.account_in(ids.account_usage("a1")) == "a1"
    assert ids.object_parts(ids.object_name("vm", "v1")) == ("vm", "v1")
    assert ids.orchestrator_in(ids.orchestrator_lease("n#1")) == "n#1"
    assert ids.orchestrator_in("monitor") is None
    assert ids.within_network(ids.in_network("n1", "a/b")) == "a/b"
    assert role_and_node(caller_of("api", "h/api")) == ("api", "h/api")
    assert is_node_of(start_of("h", "7"), "h")


@pytest.mark.parametrize("caller", ["api@", "@h", "api", ""])
def test_a_caller_with_an_empty_half_is_not_taken_for_one_with_a_single_name(caller: str) -> None:
    role, node = role_and_node(caller)
    assert (node is None) is ("@" not in caller)
    assert (role, node or "") == tuple((caller + "@").split("@")[:2])


def schemes_in(file: str, source: str) -> Iterator[str]:
    """What writes or reads such an id by hand."""
    firsts = {"account:", "login:", ids.ORCHESTRATORS}
    firsts |= {f"{what}:" for what in (*ids.RangeOf, *entity_kinds())}
    near_rows = file.startswith(ROWS)
    for node in ast.walk(ast.parse(source)):
        said = ""
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(first)), ast.FormattedValue(), *_]):
                said = first if first in firsts else ""
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(sign)), last]):
                between = near_rows and sign in SIGNS and isinstance(last, ast.FormattedValue)
                said = f"{{}}{sign}{{}}" if between else ""
            case ast.Constant(value=str(text)):
                said = text if text in firsts else ""
            case ast.Call(func=ast.Attribute(attr=how), args=[ast.Constant(value=sign), *_]):
                cuts = near_rows and how in CUTS and sign in (":", "@", "#")
                said = f"{how}({sign})" if cuts else ""
            case _:
                pass
        if said:
            yield said


def test_no_other_module_writes_or_reads_such_an_id_by_hand() -> None:
    found = {
        (file, said)
        for package in ("csnode", "roles")
        for path in sorted((ROOT / package).rglob("*.py"))
        if (file := str(path.relative_to(ROOT))) not in DOORS
        and not file.startswith(("csnode/testing/", "roles/data/migrations/"))
        for said in schemes_in(file, path.read_text())
    }
    assert found == FREE, "use the functions of csnode/model/ids.py; FREE may only shrink"


@pytest.mark.parametrize(
    "by_hand",
    [
        'f"guest:{network.id}"', 'f"vni:{zone}"', '"public:" + zone.id', 'f"account:{id}"',
        'tally.id.startswith("account:")', 'f"vm:{vm.id}"', 'Lock(id=f"network:{id}")',
        'f"{range}={value}"', 'f"{kind}:{id}"', 'need.partition(":")[2]',
        'PREFIX = "orchestrator/"', 'f"orchestrator/{owner}"', 'by.partition("@")',
        'f"{role}@{node}"', 'f"{network}/{name}"',
    ],
)  # fmt: skip
def test_an_id_that_is_written_by_hand_is_noticed(by_hand: str) -> None:
    assert list(schemes_in("roles/orchestrator/new.py", by_hand))
