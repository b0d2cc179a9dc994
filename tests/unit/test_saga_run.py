"""What the record of a job says, step by step, and what its end leaves: each fact by itself."""

from __future__ import annotations

import asyncio

import pytest

from csnode.clock import now, wall
from csnode.faults import Fault, Gone, NotFound, Refused, Stale, Unavailable
from csnode.model.job import Cancel, JobState, StepTime
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.saga.attempt import PAUSE_MAX_S, PAUSE_S, pause
from csnode.saga.run import STEP_TRIES, TELL_TRIES
from tests.unit.saga_desk import FORWARD, Desk, failing, told

BACK = ["turned", "undo third", "undo first", "failed"]
NO = Refused("a test said no", code=533)
AWAY = Unavailable("nobody answered")


def test_a_job_that_is_done_says_what_each_step_gave_and_when() -> None:
    async def story(desk: Desk) -> None:
        begun = wall()

        async def slow(times: int) -> None:
            await asyncio.sleep(3)

        desk.does = dict.fromkeys(FORWARD[:3], slow)
        job = await desk.run()
        assert desk.told == FORWARD
        assert (job.state, job.fault, job.fault_code) == (JobState.DONE, "", 0)
        assert job.results == {name: f"{name} done" for name in FORWARD[:3]}
        assert job.started == tuple(FORWARD[:3])
        assert job.ended == begun + 9
        assert job.times == tuple(
            StepTime(id=name, began=begun + 3 * n, ended=begun + 3 * n + 3)
            for n, name in enumerate(FORWARD[:3])
        )
        assert desk.fences == [desk.claimed] * 4
        assert await desk.walked() == dict.fromkeys(FORWARD, 1)
        assert await desk.locks() == []
        assert desk.engine.runs == {}

    told(story)


def test_a_job_that_fails_says_why_and_undoes_what_began_last_first() -> None:
    async def story(desk: Desk) -> None:
        seen: list[tuple[str, ...]] = []

        async def look(times: int) -> None:
            row = await desk.row()
            seen.append(row.started)
            assert (row.state, row.fault, row.fault_code) == (JobState.UNWINDING, NO.message, 533)
            assert list(row.results) == [name for name in row.started if name != "third"]

        desk.does = {"third": failing(NO), "undo third": look, "undo first": look, "failed": look}
        job = await desk.run()
        assert desk.told == [*FORWARD[:3], *BACK]
        assert seen == [("first", "second", "third"), ("first",), ()]
        assert (job.state, job.fault, job.fault_code) == (JobState.FAILED, NO.message, 533)
        assert (job.started, job.results, job.ended) == ((), {}, wall())
        assert desk.why == [NO.message]
        assert await desk.walked() == {"second": 1, "third": -1, "failed": 1}
        assert await desk.locks() == []

    told(story)


def test_steps_that_never_began_are_not_undone() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"second": failing(NO)}
        job = await desk.run()
        assert desk.told == ["first", "second", "turned", "undo first", "failed"]
        assert [time.id for time in job.times] == ["first", "second"]
        assert [bool(time.ended) for time in job.times] == [True, False]

    told(story)


def test_what_an_undo_asks_carries_a_higher_fence_than_any_step_before_it() -> None:
    """Or an order of the step that arrives late would be obeyed after the undo."""

    async def story(desk: Desk) -> None:
        desk.does = {"third": failing(NO)}
        await desk.run()
        forward, back = set(desk.fences[:3]), set(desk.fences[3:])
        assert forward == {desk.claimed}
        assert len(back) == 1
        assert min(back) > desk.claimed

    told(story)


# -- again -------------------------------------------------------------------------------------


def test_a_job_that_goes_on_elsewhere_takes_no_step_that_it_has_taken() -> None:
    async def story(desk: Desk) -> None:
        done = StepTime(id="first", began=5.0, ended=6.0, tries=3)
        job = await desk.run(started=("first", "second"), results={"first": "x"}, times=(done,))
        assert desk.told == FORWARD[1:]
        assert job.results["first"] == "x"
        assert job.times[0] == done
        assert job.started == tuple(FORWARD[:3])

    told(story)


def test_a_job_that_was_unwinding_goes_on_unwinding() -> None:
    async def story(desk: Desk) -> None:
        job = await desk.run(
            state=JobState.UNWINDING, started=("first",), fault="as before", fault_code=533
        )
        assert desk.told == ["turned", "undo first", "failed"]
        assert (job.state, job.fault, job.fault_code) == (JobState.FAILED, "as before", 533)

    told(story)


def test_a_job_of_which_nothing_began_has_nobody_told_that_its_orders_are_over() -> None:
    async def story(desk: Desk) -> None:
        await desk.run(state=JobState.UNWINDING, fault="cancelled")
        assert desk.told == ["failed"]

    told(story)


def test_whoever_cannot_be_told_that_orders_are_over_does_not_keep_a_job_from_its_undoes() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"third": failing(NO), "turned": failing(NO)}
        job = await desk.run()
        assert desk.told == [*FORWARD[:3], *BACK]
        assert job.state is JobState.FAILED

    told(story)


@pytest.mark.parametrize("fails", [STEP_TRIES - 1, STEP_TRIES])
def test_a_step_is_tried_five_times_and_says_how_often(fails: int) -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"second": failing(*[AWAY] * fails)}
        began = now()
        job = await desk.run()
        assert desk.told.count("second") == STEP_TRIES
        assert (job.state is JobState.DONE) is (fails < STEP_TRIES)
        assert job.times[1].tries == STEP_TRIES
        assert now() - began == sum(pause(n) for n in range(1, STEP_TRIES))
        assert (await desk.walked()).get("second", 0) == int(fails < STEP_TRIES)

    told(story)


def test_a_step_that_is_refused_is_not_tried_again() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"second": failing(NO)}
        await desk.run()
        assert desk.told.count("second") == 1

    told(story)


def test_an_undo_is_tried_until_it_works() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"third": failing(NO), "undo first": failing(*[AWAY] * 20)}
        job = await desk.run()
        assert desk.told.count("undo first") == 21
        assert job.state is JobState.FAILED
        assert await desk.walked() == {"second": 1, "third": -1, "failed": 1}

    told(story)


def test_pauses_double_up_to_half_a_minute() -> None:
    assert [pause(n) for n in (1, 2, 3)] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert pause(7) == pause(500) == PAUSE_MAX_S


@pytest.mark.parametrize("gone", [True, False])
def test_an_undo_of_something_whose_keeper_left_for_good_is_done(gone: bool) -> None:
    async def story(desk: Desk) -> None:
        fault: Fault = Gone("it left") if gone else NO
        desk.does = {"third": failing(NO), "undo third": failing(fault)}
        job = await desk.run()
        assert job.state is (JobState.FAILED if gone else JobState.STUCK)
        assert ("undo first" in desk.told) is gone

    told(story)


@pytest.mark.parametrize("there", [True, False])
def test_an_undo_that_finds_nothing_is_done_only_if_the_object_of_the_job_is_gone(
    there: bool,
) -> None:
    async def story(desk: Desk) -> None:
        async def missing(times: int) -> None:
            if not there and times == 1:
                change = desk.store.acting_as("fabric").change()
                change.delete(Zone, "z")
                await change.commit()
            raise NotFound("no such row")

        desk.does = {"third": failing(NO), "undo third": missing}
        job = await desk.run()
        assert job.state is (JobState.STUCK if there else JobState.FAILED)

    told(story)


# -- stuck -------------------------------------------------------------------------------------


def test_a_stuck_job_says_which_undo_failed_and_keeps_its_locks() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"third": failing(NO), "undo third": failing(Refused("no way"))}
        change = desk.store.acting_as("api").change()
        change.create(Cancel(id="j", by="u"))
        await change.commit()
        job = await desk.run(state=JobState.UNWINDING, started=("first", "third"), fault="why")
        assert (job.state, job.ended) == (JobState.STUCK, wall())
        assert job.fault == "why; then undoing third failed: no way"
        assert job.started == ("first", "third")
        assert await desk.locks() == ["zone:z"]
        assert await desk.store.find(Cancel) == []
        assert await desk.events() == []
        assert await desk.walked() == {}, "what the undo added is not committed"

    told(story)


# -- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("well", [True, False])
def test_the_account_is_told_how_a_job_ended(well: bool) -> None:
    async def story(desk: Desk) -> None:
        desk.does = {} if well else {"second": failing(NO)}
        await desk.run()
        (event,) = await desk.events()
        said = "Completed on zone z" if well else "Error on zone z: a test said no"
        assert (event.description, event.level) == (said, "INFO" if well else "ERROR")
        assert (event.type, event.account, event.domain) == ("ZONE.WALK", "a", "d")
        assert (event.user, event.job, event.trace) == ("u", "j", "t")
        assert (event.object_kind, event.object_id, event.created) == ("zone", "z", wall())

    told(story)


def test_nobody_is_told_of_a_job_that_belongs_to_no_account() -> None:
    async def story(desk: Desk) -> None:
        job = await desk.run(account=None)
        assert job.state is JobState.DONE
        assert await desk.events() == []

    told(story)


@pytest.mark.parametrize("where", ["succeeded", "failed"])
def test_the_last_word_is_tried_again_while_nobody_answers_and_said_once(where: str) -> None:
    async def story(desk: Desk) -> None:
        desk.does = {where: failing(*[AWAY] * (STEP_TRIES - 1))}
        if where == "failed":
            desk.does["third"] = failing(NO)
        job = await desk.run()
        assert job.state is (JobState.DONE if where == "succeeded" else JobState.FAILED)
        assert (await desk.walked())[where] == 1

    told(story)


def test_a_job_whose_success_cannot_be_said_is_undone() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"succeeded": failing(*[AWAY] * STEP_TRIES)}
        job = await desk.run()
        assert desk.told == [*FORWARD[:3], *["succeeded"] * STEP_TRIES, *BACK]
        assert (job.state, job.fault) == (JobState.FAILED, AWAY.message)
        assert await desk.walked() == {"second": 1, "failed": 1, "third": -1}

    told(story)


def test_a_last_word_that_is_out_of_date_is_said_anew_five_times_and_then_left_out() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"third": failing(NO), "failed": failing(*[Stale("it moved")] * 99)}
        job = await desk.run()
        assert desk.told.count("failed") == TELL_TRIES
        assert job.state is JobState.FAILED
        assert "failed" not in await desk.walked()
        assert await desk.locks() == []

    told(story)


def test_a_last_word_that_is_refused_is_left_out_at_once() -> None:
    async def story(desk: Desk) -> None:
        desk.does = {"third": failing(NO), "failed": failing(*[NO] * 99)}
        job = await desk.run()
        assert desk.told.count("failed") == 1
        assert job.state is JobState.FAILED
        assert "failed" not in await desk.walked()
        assert len(await desk.events()) == 1

    told(story)


def test_a_job_that_was_cancelled_in_line_and_holds_no_lock_ends() -> None:
    async def story(desk: Desk) -> None:
        job = await desk.claim(state=JobState.UNWINDING, fault="cancelled")
        change = desk.store.change()
        change.delete(Lock, "zone:z")
        change.create(Lock(id="zone:z", job="another"))
        await change.commit()
        ended = await desk.engine.run(job, desk.claimed)
        assert ended.state is JobState.FAILED
        assert await desk.locks() == ["zone:z"]

    told(story)
