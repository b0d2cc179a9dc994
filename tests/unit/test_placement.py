"""Where machines go, and what a refusal says."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.faults import Full
from csnode.model.fit import (
    COUNTED,
    Need,
    capacity,
    closed,
    limits,
    places,
    reservation,
    reserved,
    why_not,
)
from csnode.model.host import Host, Seen
from csnode.model.place import Cluster, Pod
from csnode.model.vm import Vm
from csnode.types import (
    AccountId,
    ClusterId,
    DomainId,
    HostId,
    OfferingId,
    PodId,
    TemplateId,
    ZoneId,
)
from roles.orchestrator.placement import place, returning

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


def machine(id: str, **more: object) -> Vm:
    given = {"cpus": 1, "cpu_mhz": 500, "memory_mib": 512} | more
    return Vm(
        id=id, name=id, account=AccountId("a"), domain=DomainId("d"), zone=ZONE,
        offering=OfferingId("o"), template=TemplateId("t"), **given,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_emptier_host_is_taken() -> None:
    used = {"a": {"mhz": 3000, "memory": 100}, "b": {"mhz": 1000, "memory": 100}}
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
    said = why_not(need(cpus=4, cpu_mhz=1000), host("a"), WITHIN, {"a": {"mhz": 7000}})
    assert said == "needs 4000 MHz, 1000 of 8000 are free"
    said = why_not(need(memory_mib=3000), host("a"), WITHIN, {"a": {"memory": 2000}})
    assert said == "needs 3000 MiB, 2096 of 4096 are free"


def test_a_machine_with_more_processors_than_the_host_has_does_not_fit_however_slow() -> None:
    """And overcommit gives no host more processors: a guest cannot run 8 on 4 at once."""
    over = places([replace(CLUSTER, cpu_overcommit=10.0)], [POD])
    said = why_not(need(cpus=5, cpu_mhz=1), host("a"), over, {})
    assert said == "needs 5 CPUs, the host has 4"
    assert why_not(need(cpus=4, cpu_mhz=1), host("a"), over, {}) == ""


def test_a_processor_is_as_fast_as_the_machine_asks_whatever_is_free() -> None:
    said = why_not(need(cpu_mhz=2001), host("a"), WITHIN, {})
    assert said == "has CPUs of 2000 MHz, needs 2001"
    assert why_not(need(cpu_mhz=2000), host("a"), WITHIN, {}) == ""


@pytest.mark.parametrize(("cpus", "mhz", "fitting"), [(1, 500, 16), (2, 1000, 4), (4, 2000, 1)])
def test_machines_share_the_processors_of_a_host_until_their_mhz_are_given_out(
    cpus: int, mhz: int, fitting: int
) -> None:
    """As CloudStack does: 4 processors of 2000 MHz are sixteen times 500."""
    one = machine("m", cpus=cpus, cpu_mhz=mhz, memory_mib=64)
    wanted, used = need(cpus=cpus, cpu_mhz=mhz, memory_mib=64), Counter[str]()
    taken = 0
    while not why_not(wanted, host("a"), WITHIN, {"a": used}):
        used.update(reservation(one))
        taken += 1
    assert (taken, used["mhz"]) == (fitting, 8000)


def test_a_machine_counts_at_its_host_and_at_the_one_it_moves_to() -> None:
    a, b = HostId("a"), HostId("b")
    sums = reserved([
        machine("still", host=a, cpus=2),
        machine("moving", host=a, moving_to=b, cpu_mhz=2000),
        machine("off", last_host=b),
    ])  # fmt: skip
    assert set(COUNTED) == set(reservation(machine("m")))
    assert sums == {
        "a": {"cpu": 3, "mhz": 3000, "memory": 1024, "vm": 2},
        "b": {"cpu": 1, "mhz": 2000, "memory": 512, "vm": 1},
    }


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
    st.lists(st.tuples(st.integers(1, 64), st.integers(0, 64)), min_size=1, max_size=48),
    st.integers(1, 32),
    st.integers(0, 2000),
    st.integers(0, 1000),
)
def test_a_chosen_host_always_has_room(
    sizes: list[tuple[int, int]], cpus: int, mhz: int, seed: int
) -> None:
    hosts = [host(f"h{n}", cpus=have) for n, (have, _) in enumerate(sizes)]
    used = {f"h{n}": {"mhz": taken * 1999} for n, (_, taken) in enumerate(sizes)}
    wanted = need(cpus=cpus, cpu_mhz=mhz)
    fits = any(have >= cpus and have * 2000 - taken * 1999 >= cpus * mhz for have, taken in sizes)
    try:
        chosen = place(wanted, hosts, WITHIN, used, random.Random(seed))
    except Full:
        assert not fits
    else:
        row = hosts[int(chosen[1:])]
        assert row.cpus >= cpus
        assert limits(row, CLUSTER)["mhz"] - used[chosen]["mhz"] >= cpus * mhz


def test_overcommit_of_memory_and_of_processors_are_two_things() -> None:
    row = host("a", cpus=4, memory=4096, cpu_mhz=2000)
    over = replace(CLUSTER, cpu_overcommit=2.5, memory_overcommit=1.5)
    has = capacity(row, over)
    assert (has.cpus, has.mhz, has.memory_mib) == (10, 20_000, 6144)
    assert limits(row, over) == {"mhz": 20_000, "memory": 6144}
    assert limits(row, None) == {"mhz": 8000, "memory": 4096}


@pytest.mark.parametrize(
    ("over", "mhz", "memory"), [(replace(CLUSTER, cpu_overcommit=2.0), 16_000, 4096),
                                (replace(CLUSTER, memory_overcommit=2.0), 8000, 8192)]
)  # fmt: skip
def test_a_machine_takes_what_its_hosts_cluster_overcommits_and_no_more(
    over: Cluster, mhz: int, memory: int
) -> None:
    within = places([over], [POD])
    used = {"a": {"mhz": mhz - 4000}}
    assert why_not(need(cpus=4, cpu_mhz=1000, memory_mib=memory), host("a"), within, used) == ""
    assert "needs 4004 MHz" in why_not(need(cpus=4, cpu_mhz=1001), host("a"), within, used)
    assert "MiB" in why_not(need(memory_mib=memory + 1), host("a"), within, {})


def test_a_host_that_has_nothing_takes_nothing() -> None:
    assert why_not(need(), host("a", cpus=0), WITHIN, {}) == "needs 1 CPUs, the host has 0"
    assert why_not(need(), host("a", memory=0), WITHIN, {}) == "needs 512 MiB, 0 of 0 are free"


def test_a_host_that_lacks_something_of_its_own_is_passed_over_and_says_what() -> None:
    wanted = need(lacks={"a": "was tried: it said no"})
    assert place(wanted, [host("a"), host("b")], WITHIN, {}, random.Random(1)) == "b"
    with pytest.raises(Full, match="a: was tried: it said no"):
        place(wanted, [host("a")], WITHIN, {}, random.Random(1))


@pytest.mark.parametrize("seen", [Seen.ALERT, Seen.CONNECTING, Seen.UP])
def test_a_host_where_csnode_restarts_or_has_restarted_is_waited_for(seen: Seen) -> None:
    away = host("a", seen=seen, seen_since=100.0)
    assert returning(need(), [away], WITHIN, {}, since=90.0)


@pytest.mark.parametrize(
    "why",
    [{"seen": Seen.DOWN}, {"seen": Seen.DISCONNECTED}, {"seen_since": 90.0},
     {"enabled": False}, {"maintenance": "since"}, {"degraded": True}, {"fenced": 1.0},
     {"cpus": 0}, {"zone": ZoneId("z2")}, {"cpu_mhz": 100}],
)  # fmt: skip
def test_a_host_that_would_not_take_the_machine_if_it_were_up_is_not_waited_for(
    why: dict[str, object],
) -> None:
    away = host("a", **({"seen": Seen.ALERT, "seen_since": 100.0} | why))  # type: ignore[arg-type]
    assert not returning(need(cpu_mhz=500), [away], WITHIN, {}, since=90.0)


def test_a_full_host_is_not_waited_for() -> None:
    away = host("a", seen=Seen.ALERT, seen_since=100.0)
    assert not returning(need(cpu_mhz=500), [away], WITHIN, {"a": {"mhz": 7600}}, since=90.0)
