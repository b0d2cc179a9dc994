"""Which hosts reach a shared pool, as the directory has it."""

from __future__ import annotations

from csnode.directory.directory import Member, Serving
from csnode.directory.pool_hosts import reaching
from csnode.types import HostId, NodeId

POOL = "pool-1"


def member(machine: str, **serves: str) -> Member:
    """A process on that machine, and what it serves where."""
    return Member(
        node=NodeId(f"{machine}/{'+'.join(serves)}"), cluster="c", incarnation=1, number=1,
        host=machine, roles=(), calls="", events="",
        serves=tuple(Serving(contract=c, at=(at,)) for c, at in serves.items()),
    )  # fmt: skip


def known(*hosts: str) -> list[HostId]:
    return [HostId(host) for host in hosts]


def test_hosts_of_machines_that_serve_it_reach_it() -> None:
    members = [
        member("m1", Compute="h1", Storage=POOL),
        member("m2", Compute="h2"),
        member("m2", Storage=POOL),  # in a process of its own
        member("m3", Compute="h3", Storage="another"),
    ]
    assert reaching(POOL, (), members) == known("h1", "h2")


def test_a_machine_that_is_silent_reaches_what_it_reached() -> None:
    assert reaching(POOL, known("h1", "h2"), [member("m1", Compute="h1")]) == known("h1", "h2")


def test_one_that_serves_another_pool_instead_reaches_it_no_more() -> None:
    members = [member("m1", Compute="h1", Storage="another")]
    assert reaching(POOL, known("h1", "h2"), members) == known("h2")
