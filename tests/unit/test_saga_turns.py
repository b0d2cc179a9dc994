"""Jobs that are cancelled, tried elsewhere, or whose commits get lost: what their records say."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from csnode.clock import now
from csnode.contracts.data import Commit
from csnode.directory.directory import WIRE
from csnode.faults import Conflict, Fault, Full, Refused, Stale, Unavailable
from csnode.model.job import Job, JobState, Tried
from csnode.saga.attempt import pause
from csnode.types import NodeId
from tests.unit.saga_desk import FORWARD, ME, Desk, data_service, failing, told

NO = Refused("a test said no", code=533)
AWAY = Unavailable("nobody answered")


def about_the_job(commit: Commit) -> dict[str, Any]:
    """What a commit writes to the job's row; nothing if it is about another."""
    for item in commit.changes:
        if getattr(item, "kind", "") == Job.kind and hasattr(item, "columns"):
            return msgspec.json.decode(item.columns)  # type: ignore[no-any-return, union-attr]
    return {}


# -- cancelled ---------------------------------------------------------------------------------


def test_the_first_to_cancel_a_job_is_named_and_the_step_at_work_is_interrupted() -> None:
    async def story(desk: Desk) -> None:
        async def slow(times: int) -> None:
            desk.engine.cancel("another", "nobody")
            for name in ("eve", "bob"):
                asyncio.get_running_loop().call_later(1, desk.engine.cancel, "j", name)
            await asyncio.sleep(3600)

        desk.does = {"second": slow}
        began = now()
        job = await desk.run()
        assert now() - began == 1
        assert (job.state, job.fault) == (JobState.FAILED, "cancelled by eve")
        assert job.fault_code == Conflict.code
        assert "third" not in desk.told

    told(story)


def test_a_cancel_that_nobody_signed_is_somebodys() -> None:
    async def story(desk: Desk) -> None:
        async def cancels(times: int) -> None:
            desk.engine.cancel("j", "")
            await asyncio.sleep(3600)

        desk.does = {"first": cancels}
        assert (await desk.run()).fault == "cancelled by somebody"

    told(story)


def test_a_job_that_unwinds_for_good_takes_no_notice_of_a_cancel() -> None:
    async def story(desk: Desk) -> None:
        async def cancels(times: int) -> None:
            desk.engine.cancel("j", "eve")

        desk.does = {"third": failing(NO), "undo third": cancels}
        job = await desk.run()
        assert (job.state, job.fault) == (JobState.FAILED, NO.message)

    told(story)


def test_a_process_that_ends_amid_a_step_leaves_the_record_for_the_next() -> None:
    async def story(desk: Desk) -> None:
        reached = asyncio.Event()

        async def slow(times: int) -> None:
            reached.set()
            await asyncio.sleep(3600)

        desk.does = {"second": slow}
        running = asyncio.create_task(desk.run())
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        job = await desk.row()
        assert (job.state, job.started) == (JobState.RUNNING, ("first", "second"))
        assert set(job.results) == {"first"}

    told(story)


# -- elsewhere ---------------------------------------------------------------------------------


def test_a_job_that_failed_at_one_place_begins_anew_and_is_done_at_another() -> None:
    async def story(desk: Desk) -> None:
        desk.places = {"second": "h1"}

        async def full_once(times: int) -> None:
            if times == 1:
                raise Full("h1 is full")
            row = await desk.row()
            assert (row.state, row.fault, row.fault_code, row.again) == (
                JobState.RUNNING, "", 0, False)  # fmt: skip
            assert [time.id for time in row.times] == ["first", "second"]
            assert list(row.results) == ["first"]

        desk.does = {"second": full_once}
        job = await desk.run()
        assert desk.told == ["first", "second", "turned", "undo first", *FORWARD]
        assert (job.state, job.fault) == (JobState.DONE, "")
        assert job.tried == (Tried(id="h1", name="h1", why="h1 is full"),)
        assert await desk.walked() == dict.fromkeys(FORWARD, 1)
        assert sorted(desk.fences) == desk.fences
        assert len(set(desk.fences)) == 3  # the claim, the turn, and the new beginning

    told(story)


def test_a_job_is_tried_at_so_many_places_and_says_what_each_of_them_said() -> None:
    async def story(desk: Desk) -> None:
        desk.places = {"second": "h"}
        desk.does = {"second": failing(Full("one is full"), Full("two is full"), Full("three"))}
        job = await desk.run()
        assert desk.told.count("second") == 2
        assert job.state is JobState.FAILED
        assert job.fault == "two is full; h: one is full"
        assert not job.again

    told(story)


def test_what_was_said_already_is_not_said_twice() -> None:
    async def story(desk: Desk) -> None:
        desk.places = {"second": "h"}
        desk.does = {"second": failing(Full("is full"), Full("h: is full"))}
        assert (await desk.run()).fault == "h: is full"

    told(story)


def test_a_job_that_is_cancelled_as_it_unwinds_to_begin_anew_ends() -> None:
    async def story(desk: Desk) -> None:
        async def cancels(times: int) -> None:
            desk.engine.cancel("j", "eve")

        desk.places = {"second": "h1"}
        desk.does = {"second": failing(Full("h1 is full")), "undo first": cancels}
        job = await desk.run()
        assert desk.told.count("first") == 1
        assert (job.state, job.fault, job.fault_code) == (
            JobState.FAILED, "cancelled by eve", Conflict.code)  # fmt: skip
        assert not job.again

    told(story)


def test_a_job_that_is_cancelled_at_work_is_tried_nowhere_else() -> None:
    async def story(desk: Desk) -> None:
        async def cancels(times: int) -> None:
            desk.engine.cancel("j", "eve")
            await asyncio.sleep(3600)

        desk.places = {"second": "h1"}
        desk.does = {"second": cancels}
        job = await desk.run()
        assert (job.state, job.fault, job.tried) == (JobState.FAILED, "cancelled by eve", ())

    told(story)


def test_while_a_data_service_of_before_cannot_keep_it_a_job_is_tried_at_one_place() -> None:
    async def story(desk: Desk) -> None:
        desk.bus.directory.announce(data_service(WIRE - 1))
        desk.places = {"second": "h1"}
        desk.does = {"second": failing(Full("h1 is full"))}
        job = await desk.run()
        assert (job.state, job.fault) == (JobState.FAILED, "h1 is full")

    told(story)


# -- commits that get lost ---------------------------------------------------------------------


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("times", [1, 4])
def test_a_write_without_an_answer_happens_once(sent: bool, times: int) -> None:
    async def story(desk: Desk) -> None:
        lost: list[str] = []

        async def lose(commit: Commit) -> Fault | None:
            if "third" in about_the_job(commit).get("started", ()) and len(lost) < times:
                lost.append("x")
                return AWAY
            return None

        if sent:
            desk.store.forgets = lose
        else:
            desk.store.loses = lose
        job = await desk.run()
        assert lost
        assert job.state is JobState.DONE
        assert await desk.walked() == dict.fromkeys(FORWARD, 1)
        assert desk.told == FORWARD

    told(story)


def test_a_write_that_was_lost_is_not_taken_for_done_because_nobody_can_say() -> None:
    """The data service takes nothing, then does not even answer what stands there."""

    async def story(desk: Desk) -> None:
        lost: list[str] = []

        async def lose(commit: Commit) -> Fault | None:
            if "third" not in about_the_job(commit).get("started", ()) or len(lost) >= 3:
                return None
            lost.append("x")
            desk.store.silent = 1
            return AWAY

        desk.store.loses = lose
        began = now()
        job = await desk.run()
        assert (len(lost), job.state) == (3, JobState.DONE)
        assert now() - began == sum(pause(n) for n in (1, 2, 3))
        assert await desk.walked() == dict.fromkeys(FORWARD, 1)

    told(story)


def test_whoever_cannot_ask_for_the_number_of_the_turn_asks_again() -> None:
    async def story(desk: Desk) -> None:
        data: Any = desk.store.data

        class Silent:
            """Does not say how far it is, the first times."""

            times = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(data, name)

            async def head(self, kinds: tuple[str, ...]) -> int:
                self.times += 1
                if self.times < 4:
                    raise AWAY
                found: int = await data.head(kinds)
                return found

        async def forget(commit: Commit) -> Fault | None:
            return AWAY if about_the_job(commit).get("state") == "unwinding" else None

        desk.store.data = Silent()  # type: ignore[assignment]
        desk.store.forgets = forget
        desk.does = {"third": failing(NO)}
        began = now()
        job = await desk.run()
        assert job.state is JobState.FAILED
        assert min(desk.fences[3:]) > desk.claimed
        assert now() - began == pause(1) + sum(pause(n) for n in (1, 2, 3))

    told(story)


def test_an_undo_whose_row_moves_on_waits_before_it_is_done_once_more() -> None:
    async def story(desk: Desk) -> None:
        moved: list[str] = []

        async def lose(commit: Commit) -> Fault | None:
            undone = about_the_job(commit).get("started") == ["first", "second"]
            if undone and desk.told[-1] == "undo third" and len(moved) < 3:
                moved.append("x")
                return Stale("the row of a zone moved on")
            return None

        desk.store.loses = lose
        desk.does = {"third": failing(NO)}
        began = now()
        job = await desk.run()
        assert job.state is JobState.FAILED
        assert (len(moved), desk.told.count("undo third")) == (3, 4)
        assert now() - began == sum(pause(n) for n in (1, 2, 3))

    told(story)


def test_a_turn_whose_answer_was_lost_still_raises_the_fence() -> None:
    async def story(desk: Desk) -> None:
        async def forget(commit: Commit) -> Fault | None:
            return AWAY if about_the_job(commit).get("state") == "unwinding" else None

        desk.store.forgets = forget
        desk.does = {"third": failing(NO)}
        job = await desk.run()
        assert job.state is JobState.FAILED
        assert min(desk.fences[3:]) > desk.claimed

    told(story)


@pytest.mark.parametrize("how", ["gone", "another's"])
def test_a_job_that_another_took_is_left_alone(how: str) -> None:
    async def story(desk: Desk) -> None:
        async def taken(times: int) -> None:
            change = desk.store.change()
            if how == "gone":
                change.delete(Job, "j")
            else:
                change.update(Job, "j", owner=NodeId("another"))
            await change.commit()

        desk.does = {"second": taken}
        job = await desk.claim()
        await desk.engine.run(job, desk.claimed)
        assert desk.told == ["first", "second"]
        assert desk.engine.runs == {}
        if how != "gone":
            row = await desk.row()
            assert (row.owner, row.state, list(row.results)) == (
                "another", JobState.RUNNING, ["first"])  # fmt: skip

    told(story)


def test_a_step_that_adds_what_is_out_of_date_turns_the_job() -> None:
    """The job's own row stands where it stood: it is not another's, and the fault is the step's."""

    async def story(desk: Desk) -> None:
        async def lose(commit: Commit) -> Fault | None:
            late = "second" in about_the_job(commit).get("results", ())
            return Stale("the row of a zone moved on") if late else None

        desk.store.loses = lose
        job = await desk.run()
        assert desk.told == ["first", "second", "turned", "undo first", "failed"]
        assert (job.state, job.owner, job.fault) == (
            JobState.FAILED, ME, "the row of a zone moved on")  # fmt: skip
        assert [time.id for time in job.times] == ["first", "second"]

    told(story)
