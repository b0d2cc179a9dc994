"""Where machines go, and what a refusal says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.faults import Full
from csnode.model.fit import Need, capacity, closed, limits, places, why_not
from csnode.model.host import Host, Seen
from csnode.model.place import Cluster, Pod
from csnode.types import ClusterId, PodId, ZoneId
from roles.orchestrator.placement import place

ZONE = ZoneId("z1")
CLUSTER = Cluster(id="c1", zone=ZONE, pod=PodId("p1"), name="c1")
POD = Pod(id="p1", zone=ZONE, name="p1")
WITHIN = places([CLUSTER], [POD])


def host(name: str, cpus: int = 4, memory: int = 4096, **more: object) -> Host:
    given = {"seen": Seen.UP, "cpu_mhz": 2000, "zone": ZONE, "cluster": ClusterId("c1")} | more
    return Host(
        id=name, name=name, pod=PodId("p1"),
        cpus=cpus, memory_mib=memory, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def need(**more: object) -> Need:
    return Need(**({"zone": ZONE, "cpus": 1, "memory_mib": 512} | more))  # type: ignore[arg-type]


def test_the_emptier_host_is_taken() -> None:
    used = {"a": {"cpu": 3, "memory": 100}, "b": {"cpu": 1, "memory": 100}}
    assert place(need(), [host("a"), host("b")], WITHIN, used, random.Random(1)) == "b"


def test_a_refusal_names_the_reason_of_every_host() -> None:
    hosts = [
        host("full", cpus=1),
        host("gone", seen=Seen.ALERT),
        host("off", enabled=False),
        host("small", memory=256),
        host("other", zone=ZoneId("z2")),
        host("plain", cpus=8),
    ]
    with pytest.raises(Full) as refused:
        place(need(cpus=2, tags=("ssd",)), hosts, WITHIN, {}, random.Random(1))
    for name, reason in {
        "full": "lacks the tag ssd", "gone": "is not Up but Alert", "off": "is disabled",
        "other": "is in another zone", "plain": "lacks the tag ssd",
    }.items():  # fmt: skip
        assert f"{name}: {reason}" in refused.value.message


def test_a_refusal_for_room_says_how_much_there_is() -> None:
    said = why_not(need(cpus=3), host("a"), WITHIN, {"a": {"cpu": 2}})
    assert said == "needs 3 CPUs, 2 of 4 are free"


def test_a_disabled_cluster_or_pod_closes_its_hosts_and_no_others() -> None:
    off = places([replace(CLUSTER, enabled=False)], [POD])
    assert closed(host("a"), WITHIN) == ""
    assert closed(host("a"), off) == "is in a cluster that is disabled"
    assert closed(host("a", cluster=ClusterId("c2")), off) == ""
    off = places([CLUSTER], [replace(POD, enabled=False)])
    assert closed(host("a"), off) == "is in a pod that is disabled"
    with pytest.raises(Full, match="a: is in a pod that is disabled"):
        place(need(), [host("a")], off, {}, random.Random(1))


def test_no_host_at_all_is_said_so() -> None:
    with pytest.raises(Full, match="there are no hosts"):
        place(need(), [], WITHIN, {}, random.Random(1))


def test_mending_the_named_cause_makes_the_same_request_fit() -> None:
    small = host("a", cpus=1)
    assert "needs 2 CPUs" in why_not(need(cpus=2), small, WITHIN, {})
    assert why_not(need(cpus=2), host("a", cpus=2), WITHIN, {}) == ""


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(0, 64)), min_size=1, max_size=80),
    st.integers(1, 32),
    st.integers(0, 1000),
)
def test_a_chosen_host_always_has_room(sizes: list[tuple[int, int]], cpus: int, seed: int) -> None:
    hosts = [host(f"h{n}", cpus=have) for n, (have, _) in enumerate(sizes)]
    used = {f"h{n}": {"cpu": taken} for n, (_, taken) in enumerate(sizes)}
    wanted = need(cpus=cpus)
    fits = any(have - taken >= cpus for have, taken in sizes)
    try:
        chosen = place(wanted, hosts, WITHIN, used, random.Random(seed))
    except Full:
        assert not fits
    else:
        assert limits(hosts[int(chosen[1:])], CLUSTER)["cpu"] - used[chosen]["cpu"] >= cpus


def test_overcommit_of_memory_and_of_processors_are_two_things() -> None:
    row = host("a", cpus=4, memory=4096, cpu_mhz=2000)
    over = replace(CLUSTER, cpu_overcommit=2.5, memory_overcommit=1.5)
    has = capacity(row, over)
    assert (has.cpus, has.mhz, has.memory_mib) == (10, 20_000, 6144)
    assert limits(row, over) == {"cpu": 10, "memory": 6144}
    assert limits(row, None) == {"cpu": 4, "memory": 4096}


@pytest.mark.parametrize(
    ("over", "cpus", "memory"), [(replace(CLUSTER, cpu_overcommit=2.0), 8, 4096),
                                 (replace(CLUSTER, memory_overcommit=2.0), 4, 8192)]
)  # fmt: skip
def test_a_machine_takes_what_its_hosts_cluster_overcommits_and_no_more(
    over: Cluster, cpus: int, memory: int
) -> None:
    within = places([over], [POD])
    assert why_not(need(cpus=cpus, memory_mib=memory), host("a"), within, {}) == ""
    assert "CPUs" in why_not(need(cpus=cpus + 1), host("a"), within, {})
    assert "MiB" in why_not(need(memory_mib=memory + 1), host("a"), within, {})


def test_a_host_that_has_nothing_takes_nothing() -> None:
    assert why_not(need(), host("a", cpus=0), WITHIN, {}) == "needs 1 CPUs, 0 of 0 are free"
    assert why_not(need(), host("a", memory=0), WITHIN, {}) == "needs 512 MiB, 0 of 0 are free"


def test_a_host_that_lacks_something_of_its_own_is_passed_over_and_says_what() -> None:
    wanted = need(lacks={"a": "was tried: it said no"})
    assert place(wanted, [host("a"), host("b")], WITHIN, {}, random.Random(1)) == "b"
    with pytest.raises(Full, match="a: was tried: it said no"):
        place(wanted, [host("a")], WITHIN, {}, random.Random(1))
