"""Why hosts cannot take a machine, which is the emptiest of those that can, who reaches a pool."""

from __future__ import annotations

import random

import pytest

from csnode.faults import Full
from csnode.model.fit import closed, need_of, reach_of, reaches, why_not
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.offering import Offering
from csnode.model.vm import Vm
from csnode.testing.data_cloud import vm
from csnode.types import HostId, ZoneId
from roles.orchestrator import placement
from roles.orchestrator.placement import place
from tests.unit.test_placement import WITHIN, host, need

REASONS: list[tuple[dict[str, object], dict[str, object], str]] = [
    ({"leaves": "a"}, {}, "is where the machine is"),
    ({"zone": ZoneId("z2")}, {}, "is in another zone"),
    ({"hypervisor": "LXC"}, {}, "runs KVM, not LXC"),
    ({}, {"enabled": False}, "is disabled"),
    ({}, {"degraded": True}, "is declared degraded"),
    ({}, {"fenced": 7.0}, "was fenced, and is not taken back yet"),
    ({}, {"maintenance": "preparing"}, "is in maintenance"),
    ({}, {"seen": Seen.DISCONNECTED}, "is not Up but Disconnected"),
    ({"tags": ("y", "ssd", "x")}, {"tags": ("ssd",)}, "lacks the tag x, y"),
    ({"only": frozenset({"b"})}, {}, "does not reach the machine's disks"),
    ({"only": frozenset[str]()}, {}, "does not reach the machine's disks"),
    ({"avoid": frozenset({"a"})}, {}, "was filled by others meanwhile"),
    ({"lacks": {"a": "was tried"}}, {}, "was tried"),
    ({"cpu_mhz": 2001}, {}, "has CPUs of 2000 MHz, needs 2001"),
    ({"cpus": 5}, {}, "needs 5 CPUs, the host has 4"),
    ({"memory_mib": 4097}, {}, "needs 4097 MiB, 4096 of 4096 are free"),
]
FITS: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"leaves": "b"}, {}),
    ({"hypervisor": "KVM"}, {}),
    ({"hypervisor": ""}, {"hypervisor": "LXC"}),
    ({"tags": ("ssd",)}, {"tags": ("ssd", "x")}),
    ({"only": frozenset({"a"})}, {}),
    ({"only": None}, {}),
    ({"avoid": frozenset({"b"}), "lacks": {"b": "was tried"}}, {}),
    ({"cpu_mhz": 2000, "cpus": 4, "memory_mib": 4096}, {}),
    ({"cpu_mhz": 1, "cpus": 4}, {}),
]


@pytest.mark.parametrize(("wants", "has", "why"), REASONS)
def test_a_host_that_cannot_take_a_machine_says_why(
    wants: dict[str, object], has: dict[str, object], why: str
) -> None:
    assert why_not(need(**wants), host("a", **has), WITHIN, {}) == why  # type: ignore[arg-type]
    with pytest.raises(Full, match=f"a: {why}"):
        place(need(**wants), [host("a", **has)], WITHIN, {}, random.Random(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("wants", "has"), FITS)
def test_a_host_that_has_all_that_a_machine_wants_can_take_it(
    wants: dict[str, object], has: dict[str, object]
) -> None:
    assert why_not(need(**wants), host("a", **has), WITHIN, {}) == ""  # type: ignore[arg-type]


def test_what_others_took_of_a_host_is_not_free() -> None:
    used = {"a": {"cpu": 30, "mhz": 6000, "memory": 4000}, "b": {}}
    assert why_not(need(cpus=4, cpu_mhz=500, memory_mib=96), host("a"), WITHIN, used) == ""
    said = why_not(need(cpus=3, cpu_mhz=667), host("a"), WITHIN, used)
    assert said == "needs 2001 MHz, 2000 of 8000 are free"
    assert "needs 97 MiB, 96 of" in why_not(need(memory_mib=97), host("a"), WITHIN, used)
    assert why_not(need(cpus=4, cpu_mhz=2000, memory_mib=4096), host("b"), WITHIN, used) == ""


def test_a_host_that_promised_more_than_it_has_now_has_nothing_free() -> None:
    said = why_not(need(cpu_mhz=1), host("a"), WITHIN, {"a": {"mhz": 12_000}})
    assert said == "needs 1 MHz, 0 of 8000 are free"


def test_a_machines_need_is_what_its_row_and_its_offering_say() -> None:
    row: Vm = vm("v")
    offering = Offering(id="o", name="o", cpus=1, memory_mib=1, host_tags=("ssd",))
    wants = need_of(
        row, offering, frozenset({"a"}), frozenset({"b"}), "c", "KVM", {"d": "was tried"}
    )
    assert (wants.zone, wants.cpus, wants.memory_mib) == (row.zone, row.cpus, row.memory_mib)
    assert (wants.cpu_mhz, wants.tags, wants.only) == (row.cpu_mhz, ("ssd",), {"a"})
    assert (wants.avoid, wants.leaves, wants.hypervisor) == ({"b"}, "c", "KVM")
    assert wants.lacks == {"d": "was tried"}
    assert need_of(row, offering, None).lacks == {}


def test_the_host_of_which_the_smallest_share_is_taken_is_the_emptiest() -> None:
    """By the scarcer of processors and memory; how large a host is does not matter."""

    def chosen(used: dict[str, dict[str, int]], *hosts: Host) -> str:
        for given in (hosts, hosts[::-1]):
            found = place(need(), given, WITHIN, used, random.Random(1))
        return found

    small, large = host("a", cpus=4), host("b", cpus=16, memory=16384)
    assert chosen({"a": {"mhz": 2000}, "b": {"mhz": 6000}}, small, large) == "b"
    assert chosen({"a": {"mhz": 2000}, "b": {"mhz": 10_000}}, small, large) == "a"
    assert chosen({"a": {"mhz": 2000}, "b": {"mhz": 6000, "memory": 8192}}, small, large) == "a"
    assert chosen({}, small, large) == "a"
    assert chosen({"a": {"memory": 1}}, small, large) == "b"


def test_among_many_hosts_one_with_room_is_found_though_few_have_any() -> None:
    hosts = [host(f"h{n:03}", cpus=4) for n in range(200)]
    used = {row.id: {"mhz": 7501} for row in hosts[:-1]}
    for seed in range(20):
        assert place(need(cpu_mhz=500), hosts, WITHIN, used, random.Random(seed)) == "h199"


def test_machines_that_come_at_once_do_not_all_go_to_one_host_of_many() -> None:
    """Each is placed by what was taken a moment ago: the emptiest of all would fill up at once."""
    hosts = [host(f"h{n:03}") for n in range(8 * placement.SAMPLE)]
    chance = random.Random(1)
    assert len({place(need(), hosts, WITHIN, {}, chance) for _ in range(50)}) > 10


def test_a_host_in_no_known_cluster_or_pod_is_open() -> None:
    assert closed(host("a", cluster="nowhere"), WITHIN) == ""


# -- who reaches a pool ------------------------------------------------------------------------

LOCAL = StoragePool(id="local", name="local", zone=ZoneId("z1"), host=HostId("a"))
SHARED = StoragePool(
    id="shared", name="shared", zone=ZoneId("z1"), hosts=(HostId("a"), HostId("b"))
)
OFF = StoragePool(id="off", name="off", zone=ZoneId("z1"), hosts=(HostId("c"),), enabled=False)


def test_a_hosts_own_pool_is_reached_by_it_alone_and_a_shared_one_by_those_it_names() -> None:
    assert [reaches(LOCAL, each) for each in "abc"] == [True, False, False]
    assert [reaches(SHARED, each) for each in "abc"] == [True, True, False]


def test_disks_in_several_pools_are_reached_where_all_of_them_are() -> None:
    pools = [LOCAL, SHARED, OFF]
    assert reach_of(pools, ["local", "shared"]) == {"a"}
    assert reach_of(pools, ["shared"]) == {"a", "b"}
    assert reach_of(pools, []) == {"a", "b"}
    assert reach_of(pools, ["off"]) == reach_of(pools, ["gone"]) == reach_of([], []) == set()
