"""A run of a saga never commits a failed try, passes a cancel, or holds another's job."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.contracts.data import Commit, Committed
from csnode.data.store import Store
from csnode.faults import Fault, Refused, Unavailable
from csnode.model.job import Job, JobState, Tried
from csnode.model.orders import Order
from csnode.model.stock import Range, Tally
from csnode.saga.saga import Saga, step
from csnode.testing.cloud import SimCloud
from csnode.types import NodeId
from tests.sim.conftest import World

FULL = 10  # what the tally has before: a thing counted down twice is seen


class Tell(Order):
    """Count to a tally, failing where it is told to, once each."""

    fails: tuple[str, ...] = ()
    for_good: bool = False


class Teller(Saga[Tell]):
    """Adds one at each step, and takes it back at each undo."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.failed_at: set[str] = set()

    def _count(self, where: str, by: int) -> None:
        """Adds to the change first, and fails then: what was added must not be committed."""
        self.change.count("teller", {"told": by})
        if where in self.order.fails and where not in self.failed_at:
            self.failed_at.add(where)
            raise Refused("for good") if self.order.for_good else Unavailable(f"not yet at {where}")

    @step
    async def first(self) -> None:
        self._count("first", 1)

    @first.undo
    async def undo_first(self) -> None:
        self._count("undo_first", -1)

    @step
    async def second(self) -> str:
        self._count("second", 1)
        return "told"

    @second.undo
    async def undo_second(self) -> None:
        """Whether it had counted is not known here: the record of the step has the word."""
        if "absent" in self.order.fails:
            self.change.update(Range, "absent", low=1)
        if "stale" in self.order.fails:
            (row,) = await self.store.find(Range, id="moving")
            self.change.update(Range, row.id, revision=row.revision, low=row.low + 1)

    @step
    async def third(self) -> None:
        if "third" in self.order.fails:
            raise Refused("a test said no")

    def elsewhere(self, step: str, fault: Fault) -> Tried | None:
        if "elsewhere" in self.order.fails:
            raise KeyError(step)
        return super().elsewhere(step, fault)

    async def succeeded(self) -> None:
        self._count("succeeded", 1)

    async def failed(self, why: str) -> None:
        del why
        self._count("failed", 1)


async def told(cloud: SimCloud, *fails: str, for_good: bool = False) -> tuple[Job, int]:
    """How the job ended, and by how much the tally is higher."""
    job, _ = await ordered(cloud, *fails, for_good=for_good)
    async with asyncio.timeout(600):
        while (await cloud.store.get(Job, job)).open:
            await asyncio.sleep(0.1)
    return await cloud.store.get(Job, job), await count(cloud) - FULL


async def ordered(cloud: SimCloud, *fails: str, for_good: bool = False) -> tuple[str, Any]:
    engine = cloud.role("orchestrator").engine
    engine._kinds = {**engine._kinds, "tell": Teller}
    change = cloud.store.change()
    change.count("teller", {"told": FULL - await count(cloud)})
    job = change.order(Tell(fails=fails, for_good=for_good))
    await change.commit()
    return job.id, engine


async def count(cloud: SimCloud) -> int:
    tallies = await cloud.store.find(Tally, id="teller")
    return tallies[0].used["told"] if tallies else 0


def test_what_a_failed_try_added_is_not_committed_with_the_next(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        for where in ((), ("first",), ("second",), ("succeeded",), ("first", "second")):
            job, more = await told(cloud, *where)
            assert (job.state, more) == (JobState.DONE, 3), where

    world(story)


def test_what_a_step_added_that_failed_for_good_is_not_committed(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        job, more = await told(cloud, "second", for_good=True)
        assert (job.state, more) == (JobState.FAILED, 1 - 1 + 1)

    world(story)


def test_what_a_failed_undo_added_is_not_committed_with_the_next_try(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        for where in (("third",), ("third", "undo_first"), ("third", "failed")):
            job, more = await told(cloud, *where)
            assert (job.state, more) == (JobState.FAILED, 2 - 1 + 1), where

    world(story)


def test_a_job_whose_undo_adds_what_the_data_service_refuses_is_stuck(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        job, more = await told(cloud, "third", "absent")
        assert (job.state, more) == (JobState.STUCK, 2)
        assert "then undoing second failed: no range absent" in job.fault

    world(story)


def test_an_undo_whose_row_moved_on_before_its_commit_is_done_once_more(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        change = cloud.store.change()
        change.create(Range(id="moving", low=1, high=9))
        await change.commit()
        undone = 0

        async def hook(moment: str, at: Any) -> None:
            nonlocal undone
            if (moment, str(at)) != ("undone", "second"):
                return
            undone += 1
            if undone == 1:
                change = cloud.store.change()
                change.update(Range, "moving", high=8)
                await change.commit()

        cloud.role("orchestrator").engine.hook = hook
        job, more = await told(cloud, "third", "stale")
        assert (job.state, more, undone) == (JobState.FAILED, 2 - 1 + 1, 2)
        moved = await cloud.store.get(Range, "moving")
        assert (moved.low, moved.high) == (2, 8)

    world(story)


def test_a_saga_that_breaks_over_where_it_failed_ends_undone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        job, more = await told(cloud, "third", "elsewhere")
        assert (job.state, more) == (JobState.FAILED, 2 - 1 + 1)
        assert job.fault == "a test said no"

    world(story)


def test_a_cancel_that_comes_when_a_step_has_just_ended_turns_the_job(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        job, engine = await ordered(cloud)

        async def hook(moment: str, at: Any) -> None:
            if (moment, str(at)) == ("after", "second"):
                loop = asyncio.get_running_loop()
                loop.call_soon(engine.cancel, job, "a test")  # runs once the step's task is done

        engine.hook = hook
        async with asyncio.timeout(60):
            while (await cloud.store.get(Job, job)).open:
                await asyncio.sleep(0.1)
        ended = await cloud.store.get(Job, job)
        assert (ended.state, ended.fault) == (JobState.FAILED, "cancelled by a test")
        assert await count(cloud) - FULL == 1, "the word of failed(), and nothing of the step"

    world(story)


def test_who_lost_an_answer_and_then_the_job_does_not_go_on_with_it(world: World) -> None:
    """The commit is lost, not its answer; and what stands one revision further is another's."""

    async def story(cloud: SimCloud) -> None:
        other, seen = NodeId("another#1"), list[str]()

        class Losing(Store):
            async def commit(self, commit: Commit) -> Committed:
                mine = any(getattr(i, "kind", "") == Job.kind for i in commit.changes)
                if not mine or "first" not in seen or "lost" in seen:
                    return await super().commit(commit)
                seen.append("lost")
                row = await cloud.store.get(Job, job)
                change = cloud.store.change()
                change.update(Job, job, revision=row.revision, owner=other)
                await change.commit()
                raise Unavailable("the connection was lost")

        engine = cloud.role("orchestrator").engine
        engine.store = Losing(cloud.node.bus, "orchestrator", "sim")
        job, _ = await ordered(cloud)

        async def hook(moment: str, at: Any) -> None:
            if moment == "before":
                seen.append(str(at))

        engine.hook = hook
        cloud.role("orchestrator").work.accepting = True
        async with asyncio.timeout(60):
            while "lost" not in seen:
                await asyncio.sleep(0.1)
        cloud.role("orchestrator").work.accepting = False  # or it takes the job over again
        await asyncio.sleep(20)
        row = await cloud.store.get(Job, job)
        assert seen == ["first", "lost"]
        assert (row.owner, row.state, row.started) == (other, JobState.RUNNING, ("first",))
        assert await count(cloud) == FULL

    world(story)
