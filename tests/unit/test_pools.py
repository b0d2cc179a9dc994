"""Where disks go, and what a refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.faults import Full
from csnode.model.fit import Capacity, given_out
from csnode.model.host import StoragePool
from csnode.model.job import Job, JobState
from csnode.model.room import bytes_promised, promised, room_of, why_no_room
from csnode.model.stock import Tally
from csnode.model.volume import Volume
from csnode.types import GIB, AccountId, DomainId, PoolId, ZoneId
from roles.orchestrator.placement import choose_pool

ZONE = ZoneId("z1")


def pool(name: str, gib: int = 10, **more: object) -> StoragePool:
    given = {"zone": ZONE, "total_bytes": gib * GIB} | more
    return StoragePool(id=name, name=name, **given)  # type: ignore[arg-type]


def volume(name: str, gib: int, at: str | None) -> Volume:
    return Volume(
        id=name, name=name, account=AccountId("a"), domain=DomainId("d"), zone=ZONE,
        size=gib * GIB, pool=PoolId(at) if at else None,
    )  # fmt: skip


def test_a_disk_goes_to_the_pool_with_most_left_to_promise() -> None:
    pools = [pool("a"), pool("b")]
    assert choose_pool(pools, GIB, (), {"a": 5 * GIB}, {}) == "b"
    assert choose_pool(pools, GIB, (), {"b": 5 * GIB}, {}) == "a"


def test_of_pools_with_as_much_left_to_promise_the_one_with_fewer_bytes_written_is_taken() -> None:
    """And of those alike always the same one, whoever of several orchestrators chooses."""
    pools = [pool("a", used_bytes=3 * GIB), pool("b", used_bytes=GIB), pool("c", used_bytes=GIB)]
    for order in (pools, pools[::-1]):
        assert choose_pool(order, GIB, (), {}, {}) == "c"
    assert choose_pool([pool("a"), pool("b", used_bytes=GIB)], GIB, (), {}, {}) == "a"
    fuller = [pool("a", 10, used_bytes=5 * GIB), pool("b", 8, overprovisioning=2.5)]
    assert choose_pool(fuller, GIB, (), {}, {}) == "b"


def test_a_large_pool_that_has_promised_more_is_taken_while_it_has_more_left() -> None:
    taken = {"large": 50 * GIB, "small": GIB}
    assert choose_pool([pool("small", 10), pool("large", 100)], GIB, (), taken, {}) == "large"
    assert choose_pool([pool("small", 10)], 19 * GIB, (), taken, {}) == "small"


def test_a_pool_that_was_passed_over_is_not_taken_though_it_is_the_emptiest() -> None:
    pools = [pool("a", 100), pool("b", 5)]
    assert choose_pool(pools, GIB, (), {}, {"a": "was tried: it said no"}) == "b"


def test_a_disk_goes_only_to_a_pool_with_all_its_tags() -> None:
    pools = [pool("plain", 100), pool("fast", tags=("ssd",)), pool("both", 5, tags=("ssd", "x"))]
    assert choose_pool(pools, GIB, ("ssd",), {}, {}) == "fast"
    assert choose_pool(pools, GIB, ("ssd", "x"), {}, {}) == "both"


def test_a_refusal_names_the_reason_of_every_pool() -> None:
    pools = [
        pool("plain"), pool("off", enabled=False), pool("away", up=False), pool("tried"),
        pool("kept", maintenance=True), pool("full", tags=("ssd",)),
    ]  # fmt: skip
    with pytest.raises(Full) as refused:
        choose_pool(pools, GIB, ("ssd",), {"full": 20 * GIB}, {"tried": "said no"})
    for said in (
        "plain: lacks the tag ssd", "off: is disabled", "away: is not up", "tried: said no",
        "kept: is in maintenance", "full: needs 1.0 GiB, 0.0 GiB of 20.0 GiB are free",
    ):  # fmt: skip
        assert said in refused.value.message


def test_no_pool_at_all_is_said_so() -> None:
    with pytest.raises(Full, match="none is reached"):
        choose_pool([], GIB, (), {}, {})


def test_a_pool_promises_its_bytes_as_often_as_it_is_overprovisioned() -> None:
    assert room_of(pool("a", 10)) == 20 * GIB
    assert room_of(pool("a", 10, overprovisioning=1.5)) == 15 * GIB
    assert room_of(pool("a", 0)) == -1
    assert why_no_room(pool("a", 10), 20 * GIB, (), {}) == ""
    assert "0.0 GiB of 0.0 GiB" in why_no_room(
        pool("a", total_bytes=1, overprovisioning=0.5), 1, (), {}
    )


def test_a_host_or_pool_without_a_tally_has_given_out_nothing() -> None:
    assert bytes_promised(None) == bytes_promised(Tally(id="a", used={"other": 5})) == 0
    assert (
        given_out(None)
        == given_out(Tally(id="a", used={}))
        == Capacity(cpus=0, mhz=0, memory_mib=0)
    )


def test_a_pool_that_nobody_has_measured_yet_refuses_nothing() -> None:
    assert why_no_room(pool("a", 0), 10**15, (), {}) == ""


@given(st.integers(1, 40), st.integers(0, 40))
def test_a_chosen_pool_always_has_room(size: int, taken: int) -> None:
    fits = not why_no_room(pool("a"), size * GIB, (), {"a": taken * GIB})
    assert fits is (size + taken <= 20)


def test_a_disk_on_its_way_is_promised_in_both_pools_until_it_has_moved() -> None:
    spots = [{"volume": "v", "source": "a", "target": "b"}]
    job = Job(id="j", verb="migrate_vm", order={}, state=JobState.RUNNING, results={"spots": spots})
    assert promised([volume("v", 3, "a")], [job]) == {"a": 3 * GIB, "b": 3 * GIB}
    assert promised([volume("v", 3, "b")], [job]) == {"b": 3 * GIB}
    for state, there in ((JobState.STUCK, 3 * GIB), (JobState.DONE, 0), (JobState.FAILED, 0)):
        ended = replace(job, state=state)
        assert promised([volume("v", 3, "a")], [ended])["b"] == there
    assert promised([volume("v", 3, None)], []) == {}
