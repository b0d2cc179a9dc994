"""Jobs stand in line for the objects they need."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.model.job import Job, JobState
from csnode.types import NodeId
from roles.orchestrator.claim import Queue, Turns, owner_of


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
    assert {j.id for j in queue.next()} == {"b", "c"}


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


def test_the_end_of_the_first_of_thousands_concerns_the_second_alone() -> None:
    queue = Queue()
    line = [job(f"{n:04}", n, "vm:1") for n in range(3000)]
    for each in line:
        queue.note(None, each)
    assert queue.next() == line[:1]
    queue.note(line[0], replace(line[0], state=JobState.DONE))
    assert list(queue.behind(line[0])) == line[1:2]
    assert queue.next() == line[1:2]


def test_a_job_that_was_made_by_a_clock_behind_takes_the_first_place() -> None:
    queue = Queue()
    first, earlier = job("a", 5, "vm:1"), job("b", 4, "vm:1")
    queue.note(None, first)
    at_work = replace(first, owner=NodeId("x#1"))
    queue.note(first, at_work)
    queue.note(None, earlier)
    assert queue.next() == [earlier]
    assert queue.owned == {"a": at_work}


needs = st.sets(st.sampled_from(("vm:1", "vm:2", "network:1")), max_size=3)
moves = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), needs), max_size=40)


@given(moves)
@settings(max_examples=60)
def test_the_heads_kept_are_the_heads_of_the_lines(steps: list[tuple[int, int, set[str]]]) -> None:
    """Held against a walk of all lines, after every job that comes or goes."""
    queue = Queue()
    stand: dict[str, Job] = {}
    for number, created, wanted in steps:
        id = f"j{number}"
        if (old := stand.pop(id, None)) is not None:
            queue.note(old, replace(old, state=JobState.FAILED) if created % 2 else None)
        else:
            stand[id] = job(id, created, *sorted(wanted))
            queue.note(None, stand[id])
        heads = {
            j.id
            for j in stand.values()
            if all(
                (j.created, j.id) <= (o.created, o.id)
                for o in stand.values()
                if set(j.needs) & set(o.needs)
            )
        }
        assert {j.id for j in queue.next()} == heads
        assert all(queue.is_next(j) == (j.id in heads) for j in stand.values())


def test_accounts_take_turns() -> None:
    turns = Turns()
    for n in range(4):
        turns.wait("noisy", f"n{n}")
    turns.wait("quiet", "q0")
    taken = [turns.take(100) for _ in range(6)]
    assert taken == ["n0", "q0", "n1", "n2", "n3", None]


def test_one_account_leaves_places_for_the_next() -> None:
    turns, places = Turns(), 16
    at_work: list[str] = []

    def fill() -> None:
        while (id := turns.take(places - len(at_work))) is not None:
            at_work.append(id)
            turns.began(id.partition("-")[0])

    for n in range(1000):
        turns.wait("noisy", f"noisy-{n}")
    fill()
    assert len(at_work) == 8
    turns.wait("quiet", "quiet-0")
    turns.wait("quiet", "quiet-1")
    fill()
    assert at_work[8:] == ["quiet-0", "quiet-1"]
    turns.ended("noisy")
    at_work.remove("noisy-0")
    fill()
    assert sum(id.startswith("noisy") for id in at_work) == 7, "it has no more than are left free"


def test_one_place_is_enough_for_everybody_in_turn() -> None:
    turns = Turns()
    for id in ("a0", "a1", "b0", "b1"):
        turns.wait(id[0], id)
    taken: list[str] = []
    while (id := turns.take(1)) is not None:
        taken.append(id)
    assert taken == ["a0", "b0", "a1", "b1"]


def test_a_job_that_need_not_begin_here_is_forgotten() -> None:
    turns = Turns()
    turns.wait("a", "a0")
    turns.drop("a", "a0")
    turns.drop("b", "b0")
    assert turns.take(5) is None


def test_all_agree_on_an_owner_and_few_jobs_move_when_one_leaves() -> None:
    three = ("x#1", "y#2", "z#3")
    before = {f"job-{n}": owner_of(f"job-{n}", three) for n in range(900)}
    assert min(Counter(before.values()).values()) > 200
    after = {id: owner_of(id, three[:2]) for id in before}
    assert all(after[id] == owner for id, owner in before.items() if owner != "z#3")
