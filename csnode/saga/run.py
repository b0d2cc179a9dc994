"""One job in hand: forward step by step, back if one fails, its record written as it goes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from csnode import metrics
from csnode.clock import now, wall
from csnode.context import acting
from csnode.data.change import Change
from csnode.faults import Conflict, Fault, Gone, NotFound, Outdated, Stale, Unavailable
from csnode.log import logger
from csnode.model.event import EventLevel, UserEvent
from csnode.model.identity import Account
from csnode.model.job import Cancel, Job, JobState, StepTime
from csnode.model.stock import Lock
from csnode.saga.attempt import Lost, as_fault, cancelled, object_is_gone, other_place, pause
from csnode.saga.saga import Saga, Step
from csnode.uuids import new_id

Hook = Callable[[str, Step[Any]], Awaitable[None]]
STEP_TRIES, TELL_TRIES = 5, 5
RENEWALS = 5  # of the right to act, for one undo
TRIED_SINCE = 4  # the wire number that Job.tried came with
log = logger("saga")


async def no_hook(moment: str, step: Step[Any]) -> None:
    """Let nothing go wrong on purpose. Moments: before, after, undo, undone."""


class Run:
    """A job, its saga, and its record as last written. `fence` is of the last right to act."""

    def __init__(self, job: Job, saga: Saga[Any], hook: Hook, fence: int, places: int = 1) -> None:
        self.job, self.saga, self.hook, self.fence = job, saga, hook, fence
        self._places = places
        self.times = {t.id: t for t in job.times}
        self.step: Step[Any] | None = None  # at work, on the way forward
        self._at_work: asyncio.Task[Any] | None = None
        self._cancelled: Conflict | None = None

    def cancel(self, by: str) -> None:
        """Interrupt the step at work, and turn round. An undo at work is never interrupted."""
        if self._cancelled is None and (self.job.state is JobState.RUNNING or self.job.again):
            self._cancelled = cancelled(by)
            if self._at_work is not None:
                self._at_work.cancel()

    def _check_cancelled(self) -> None:
        if self._cancelled is not None:
            raise self._cancelled

    # -- the record ------------------------------------------------------------------------

    async def write(self, **columns: Any) -> int:
        """Commit new values of the job's columns, with whatever the saga added to its change.

        Returns the commit's number; a later one if its answer was lost.
        """
        times = tuple(self.times.values())
        change = self.saga.take_change()
        # First: of a commit whose answer was lost, a second time this is what is refused.
        change.require_first(Job, self.job.id, revision=self.job.revision, times=times, **columns)
        number = await self._committed(change)
        self.job = replace(self.job, revision=self.job.revision + 1, times=times, **columns)
        self.saga.job = self.job
        return number

    async def _committed(self, change: Change) -> int:
        for attempt in itertools.count(1):
            try:
                return (await change.commit()).number
            except Unavailable:  # it may have been committed: read before asking again
                await asyncio.sleep(pause(attempt))
                if await self._is_written():
                    return await self._later_number()
            except (Stale, NotFound):
                if await self._is_written():
                    return await self._later_number()
                raise  # it was another row of the change
        raise AssertionError("count never ends")

    async def _is_written(self) -> bool:
        """Tell whether the record stands one revision on, by our hand; Lost if by another's."""
        try:
            found = await self.saga.store.get(Job, self.job.id)
        except Unavailable:
            return False
        except NotFound as gone:
            raise Lost(self.job.id) from gone
        if found.revision == self.job.revision:
            return False
        if found.owner == self.job.owner and found.revision == self.job.revision + 1:
            return True
        raise Lost(self.job.id)

    async def _later_number(self) -> int:
        for attempt in itertools.count(1):
            try:
                return await self.saga.store.data.head((Job.kind,))
            except Unavailable:
                await asyncio.sleep(pause(attempt))
        raise AssertionError("count never ends")

    def _begins(self, step: Step[Any]) -> tuple[str, ...]:
        """Return `started` with that step, which begins now."""
        self.times[step.name] = StepTime(id=step.name, began=wall())
        return (*self.job.started, step.name)

    # -- forward ---------------------------------------------------------------------------

    async def forward(self) -> None:
        """Take every step that has no result; at the first failure, turn round."""
        steps = self.saga.steps()
        for step, after in zip(steps, (*steps[1:], None), strict=True):
            if step.name in self.job.results:
                continue
            if step.name not in self.job.started:
                await self.write(started=self._begins(step))
            try:
                result = await self._take(step)
                self.saga.results[step.name] = result
                if after is None:
                    await self._end(JobState.DONE, step, result)
                else:
                    started = self._begins(after)
                    await self.write(results=self._with(step, result), started=started)
            except Fault as fault:
                self.saga.results.pop(step.name, None)
                self.saga.take_change()  # nothing of it is to be
                if after is not None and after.name not in self.job.started:
                    self.times.pop(after.name, None)
                await self._turn(step, fault)
                return

    async def _turn(self, step: Step[Any], fault: Fault) -> None:
        """Say that the job unwinds. From that commit on its undoes act, and its steps may not:
        a call of theirs that arrives late carries the lower fence.
        """
        number = await self.write(
            state=JobState.UNWINDING, fault_code=fault.code, **self._verdict(step, fault)
        )
        self.fence = max(self.fence, number)
        log.warning(
            "step failed", saga=self.job.verb, step=step.name, job_id=self.job.id,
            object=self.job.object_id, why=fault.message, detail=fault.detail,
        )  # fmt: skip

    def _verdict(self, step: Step[Any], fault: Fault) -> dict[str, Any]:
        """Return why it turns, with the reasons of all places tried, and if it goes on elsewhere.

        While a data service of before could not keep where it was tried, it ends at once.
        """
        before = self.job.tried
        tried = None if self._cancelled is not None else other_place(self.saga, step.name, fault)
        if (
            tried is not None
            and len(before) + 1 < self._places
            and self.saga.store.wire() >= TRIED_SINCE
        ):
            return {"fault": fault.message, "tried": (*before, tried), "again": True}
        why = [f"{each.name}: {each.why}" for each in before if each.why not in fault.message]
        return {"fault": "; ".join([fault.message, *why])}

    async def _take(self, step: Step[Any]) -> Any:
        """Run the step as a task of its own, so that a cancel can interrupt; return its result."""
        began = now()
        self.times.setdefault(step.name, StepTime(id=step.name, began=wall()))

        async def act(saga: Saga[Any]) -> Any:
            await self.hook("before", step)
            result = await step.do(saga)
            await self.hook("after", step)
            return result

        self._check_cancelled()
        self.step = step
        self._at_work = asyncio.ensure_future(self._insist(act, STEP_TRIES, step))
        try:
            result = await self._at_work
        except asyncio.CancelledError:
            us = asyncio.current_task()
            if us is None or not us.cancelling():
                self._check_cancelled()
            raise
        finally:
            self.step = self._at_work = None
        self._check_cancelled()
        self.times[step.name] = replace(self.times[step.name], ended=wall())
        metrics.STEP_S.labels(self.job.verb, step.name).observe(now() - began)
        return result

    def _with(self, step: Step[Any], result: Any) -> dict[str, Any]:
        return {**self.job.results, step.name: msgspec.to_builtins(result)}

    # -- back ------------------------------------------------------------------------------

    async def back(self) -> None:
        """Undo every step that started, last first; an undo is tried until it works."""
        await self._outdate()
        for step in reversed(self.saga.steps()):
            if step.name not in self.job.started:
                continue
            try:
                await self._take_back(step)
            except Fault as fault:
                self.saga.take_change()  # nothing of it is to be
                await self._stuck(step, fault)
                return
        if self.job.again and not await self._stays_undone():
            return
        for _ in range(TELL_TRIES):
            try:
                await self._end(JobState.FAILED)
            except Stale:  # what it was to say was out of date already
                continue
            except Fault as fault:  # it cannot be said; the job must end all the same
                log.error("cannot tell the owner", saga=self.job.verb, job_id=self.job.id,
                          why=fault.message)  # fmt: skip
                break
            return
        await self._end(JobState.FAILED, tell=False)

    async def _take_back(self, step: Step[Any]) -> None:
        """Undo the step, and commit what that added. A row of it that moved on: undo once more."""
        self.saga.results.pop(step.name, None)
        started = tuple(name for name in self.job.started if name != step.name)
        results = {k: v for k, v in self.job.results.items() if k != step.name}
        for attempt in itertools.count(1):
            if step.undoing is not None:
                with suppress(Gone):  # what it held went with it: nothing is left to undo
                    await self._undo(step, step.undoing)
            try:
                await self.write(started=started, results=results)
                return
            except Stale:
                await asyncio.sleep(pause(attempt))

    async def _stays_undone(self) -> bool:
        """Begin anew, unless somebody has cancelled the job meanwhile."""
        if self._cancelled is not None:
            why = self._cancelled
            await self.write(fault=why.message, fault_code=why.code, again=False)
            return True
        self.times.clear()
        started = self._begins(self.saga.steps()[0])
        number = await self.write(
            state=JobState.RUNNING, started=started, fault="", fault_code=0, again=False
        )
        self.fence = max(self.fence, number)
        log.info("tried elsewhere", saga=self.job.verb, job_id=self.job.id,
                 object=self.job.object_id)  # fmt: skip
        return False

    async def _outdate(self) -> None:
        if not self.job.started:
            return
        try:
            await as_fault(self.saga.turned())
        except Fault as fault:
            log.info("not told that earlier orders are over", job_id=self.job.id, why=fault.message)

    async def _undo(self, step: Step[Any], undoing: Callable[[Any], Awaitable[None]]) -> None:
        async def act(saga: Saga[Any]) -> None:
            await self.hook("undo", step)
            await undoing(saga)
            await self.hook("undone", step)

        for renewals in itertools.count():
            try:
                with acting(fence=self.fence):
                    await self._insist(act, None)
            except NotFound:
                if not await object_is_gone(self.saga):
                    raise
            except Outdated:
                if renewals == RENEWALS:
                    raise
                await self._renew()
                continue
            return

    async def _renew(self) -> None:
        """Get a later right to act, if the job is still ours: an order of a host's own job, which
        needs none of its machines, may have come between.
        """
        try:
            number = await self._insist(lambda saga: saga.commit(saga.store.change()), None)
        except Outdated as outdated:
            raise Lost(self.job.id) from outdated
        self.fence = max(self.fence, number)

    async def _stuck(self, step: Step[Any], fault: Fault) -> None:
        """Leave the job stuck. Its locks stay: none may touch the object before an operator did."""
        why = f"{self.job.fault}; then undoing {step.name} failed: {fault.message}"
        self.saga.change.delete(Cancel, self.job.id)
        await self.write(state=JobState.STUCK, fault=why, ended=wall())
        log.error("job is stuck", saga=self.job.verb, step=step.name, job_id=self.job.id,
                  object=self.job.object_id, why=fault.message)  # fmt: skip
        metrics.JOBS.labels(self.job.verb, JobState.STUCK).inc()

    async def _end(
        self,
        state: JobState,
        step: Step[Any] | None = None,
        result: Any = None,
        tell: bool = True,
    ) -> None:
        """Make the last commit: the end of the job, and all that becomes true with it."""
        saga = self.saga
        if state is JobState.DONE:
            await self._conclude(saga.succeeded)
        else:
            saga.take_change()  # nothing of it is to be
            if tell:
                await self._conclude(lambda: saga.failed(self.job.fault))
        for need in await self._locks(state):
            saga.change.delete(Lock, need)
        saga.change.delete(Cancel, self.job.id)
        self._record(state)
        results = self._with(step, result) if step else self.job.results
        await self.write(state=state, results=results, ended=wall())
        metrics.JOBS.labels(self.job.verb, state).inc()
        log.info("job ended", saga=self.job.verb, job_id=self.job.id, state=state,
                 object=self.job.object_id)  # fmt: skip

    async def _conclude(self, say: Callable[[], Awaitable[None]]) -> None:
        """Add what the end says to the change. A data service that is away is no reason to undo."""
        saga, items = self.saga, tuple(self.saga.change.items)
        for attempt in itertools.count(1):
            try:
                await as_fault(say())
            except Fault as fault:
                if not fault.retry or attempt == STEP_TRIES:
                    raise
                saga.change.items[:] = items
                await asyncio.sleep(pause(attempt))
            else:
                return

    async def _locks(self, state: JobState) -> tuple[str, ...]:
        """Return the locks the job holds; one that was cancelled while in line holds none."""
        if state is JobState.DONE:
            return self.job.needs
        return tuple(lock.id for lock in await self.saga.store.find(Lock, job=self.job.id))

    def _record(self, state: JobState) -> None:
        """Record what the account's listEvents shows."""
        job = self.job
        account = self.saga.view.maybe(Account, job.account)
        if account is None or not self.saga.event:
            return
        failed = state is not JobState.DONE
        what = f"{job.object_kind} {job.object_id}"
        self.saga.change.record(
            UserEvent(
                id=new_id(),
                type=self.saga.event,
                description=f"Error on {what}: {job.fault}" if failed else f"Completed on {what}",
                level=EventLevel.ERROR if failed else EventLevel.INFO,
                account=account.id,  # type: ignore[arg-type]
                domain=account.domain,
                user=job.user,
                job=job.id,  # type: ignore[arg-type]
                object_kind=job.object_kind,
                object_id=job.object_id,
                trace=job.trace,
                created=wall(),
            )
        )

    async def _insist(
        self,
        act: Callable[[Any], Awaitable[Any]],
        tries: int | None,
        step: Step[Any] | None = None,
    ) -> Any:
        """Ask again while the fault says that it may help: a step some times, an undo for ever."""
        for attempt in itertools.count(1):
            if step is not None:
                self.times[step.name] = replace(self.times[step.name], tries=attempt)
            try:
                return await as_fault(act(self.saga))
            except Fault as fault:
                self.saga.take_change()  # nothing of it is to be
                if not fault.retry or attempt == tries:
                    raise
                await asyncio.sleep(pause(attempt))
        raise AssertionError("count never ends")
