"""What the monitor makes of what is known of a host."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from csnode.directory.directory import Health, Member, Serving
from csnode.model.host import Host, Seen
from csnode.types import ClusterId, NodeId, PodId, ZoneId
from roles.monitor.verdict import Evidence, most, others_of, present, verdict

SILENCE_S = 5.0
DEAD = Evidence(silent_for=6.0, missed_by=("the monitor", "b"), machines_heard=4, machines_known=5)
HOST = Host(id="h1", name="box", zone=ZoneId("z"), pod=PodId("p"), cluster=ClusterId("c"))

TABLE = [
    (replace(DEAD, compute=Health.OK), Seen.UP, ""),
    (replace(DEAD, compute=Health.DRAINING), Seen.UP, ""),
    (replace(DEAD, compute=Health.OK, fenced=True), Seen.CONNECTING, "was fenced"),
    (DEAD, Seen.DOWN, "answers none of the monitor, b"),
    (replace(DEAD, fenced=True, missed_by=()), Seen.DOWN, "was fenced"),
    (replace(DEAD, heard=("box/keeper",)), Seen.ALERT, "its machines run on"),
    (replace(DEAD, missed_by=(), reached_by=("b",)), Seen.ALERT, "its machines run on"),
    (replace(DEAD, reached_by=("c",)), Seen.ALERT, "a partition: c can reach it"),
    (replace(DEAD, missed_by=("b",)), Seen.ALERT, "only b could be asked"),
    (replace(DEAD, missed_by=()), Seen.ALERT, "nobody could be asked"),
    (replace(DEAD, machines_heard=2), Seen.ALERT, "hears 2 of 5 machines"),
    (replace(DEAD, machines_heard=1, machines_known=2), Seen.DOWN, "answers none"),
]


@pytest.mark.parametrize(("evidence", "seen", "why"), TABLE)
def test_what_is_known_decides(evidence: Evidence, seen: Seen, why: str) -> None:
    found = verdict(evidence, SILENCE_S)
    assert found is not None
    assert found.seen is seen
    assert why in found.why


@pytest.mark.parametrize(
    "evidence", [replace(DEAD, silent_for=4.9), replace(DEAD, compute=Health.SUSPECT)]
)
def test_of_a_short_silence_nothing_is_said(evidence: Evidence) -> None:
    assert verdict(evidence, SILENCE_S) is None


@pytest.mark.parametrize(("heard", "known", "enough"), [(3, 5, True), (2, 4, False), (1, 2, True)])
def test_most_machines_speak_for_the_cluster(heard: int, known: int, enough: bool) -> None:
    assert most(heard, known) is enough


def member(node: str, host: str, contract: str, at: str, health: Health = Health.OK) -> Member:
    return Member(
        node=NodeId(node), cluster="c", incarnation=1, number=1, host=host, roles=(),
        serves=(Serving(contract=contract, at=(at,)),), calls="", events="", health=health,
    )  # fmt: skip


def test_a_host_is_present_as_long_as_its_compute_is_heard() -> None:
    there = [member("a", "box", "Compute", "h1"), member("b", "bax", "Keeper", "h2")]
    assert present(there) == {"h1": Health.OK}


def test_other_nodes_of_a_machine_are_known_by_its_name_or_by_what_they_serve() -> None:
    members = [
        member("box/keeper", "box", "Other", "x"),
        member("far", "elsewhere", "Networking", "h1"),
        member("gone", "box", "Keeper", "h1", Health.SUSPECT),
        member("b", "bax", "Keeper", "h2"),
    ]
    assert others_of(HOST, members) == ("box/keeper", "far")
