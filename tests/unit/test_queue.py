"""Jobs stand in line for the objects they need."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from csnode.model.job import Job, JobState
from roles.orchestrator.claim import Queue, owner_of


def job(id: str, created: float, *needs: str) -> Job:
    return Job(id=id, verb="stop_vm", order={}, needs=needs, created=created)


def test_the_first_to_come_is_next() -> None:
    queue = Queue()
    first, second, other = job("b", 1, "vm:1"), job("a", 2, "vm:1"), job("c", 3, "vm:2")
    for each in (second, first, other):
        queue.note(None, each)
    assert queue.is_next(first)
    assert not queue.is_next(second)
    assert queue.is_next(other)
    assert queue.ahead_of(second, "vm:1") == 1


def test_an_ended_job_lets_the_one_behind_it_go() -> None:
    queue = Queue()
    first, second = job("a", 1, "vm:1"), job("b", 2, "vm:1")
    queue.note(None, first)
    queue.note(None, second)
    queue.note(first, replace(first, state=JobState.DONE))
    assert list(queue.behind(first)) == [second]
    assert queue.is_next(second)


def test_a_job_that_needs_two_objects_waits_for_both() -> None:
    queue = Queue()
    one, both = job("a", 1, "vm:1"), job("b", 2, "vm:1", "network:2")
    queue.note(None, one)
    queue.note(None, both)
    assert not queue.is_next(both)
    queue.note(one, None)
    assert queue.is_next(both)


def test_a_deleted_job_is_forgotten() -> None:
    queue = Queue()
    only = job("a", 1, "vm:1")
    queue.note(None, only)
    queue.note(only, None)
    assert queue.open == {}
    assert list(queue.behind(only)) == []


def test_all_agree_on_an_owner_and_few_jobs_move_when_one_leaves() -> None:
    three = ("x#1", "y#2", "z#3")
    before = {f"job-{n}": owner_of(f"job-{n}", three) for n in range(900)}
    assert min(Counter(before.values()).values()) > 200
    after = {id: owner_of(id, three[:2]) for id in before}
    assert all(after[id] == owner for id, owner in before.items() if owner != "z#3")
