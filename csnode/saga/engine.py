"""Runs sagas: forward, again after a crash, and back.

Every decision is written down before it is acted on. The record is the job's row, and each
write names the revision it follows: an engine that lost the job to another cannot write, and
the fence that travels with its calls keeps components from obeying it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from csnode import metrics
from csnode.bus.bus import Bus
from csnode.clock import now, wall
from csnode.context import acting
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Broken, Fault, Gone, Stale, Unavailable
from csnode.log import logger
from csnode.model.event import UserEvent
from csnode.model.identity import Account
from csnode.model.job import Job, JobState, StepTime
from csnode.model.stock import Lock
from csnode.saga.saga import Saga, Step, order_of
from csnode.uuids import new_id

Hook = Callable[[str, Step[Any]], Awaitable[None]]
STEP_TRIES, PAUSE_S, PAUSE_MAX_S = 5, 0.5, 30.0
log = logger("saga")


async def no_hook(moment: str, step: Step[Any]) -> None:
    """Nothing goes wrong on purpose."""


class Lost(Exception):
    """Another engine has taken the job over; leave it alone from here on."""


class Run:
    """One job in hand: its saga, and its record as last written."""

    def __init__(self, job: Job, saga: Saga[Any], hook: Hook) -> None:
        self.job, self.saga, self.hook = job, saga, hook
        self.times = {t.id: t for t in job.times}

    # -- the record ------------------------------------------------------------------------

    async def write(self, **columns: Any) -> None:
        """Commit new values of the job's columns, with whatever the saga added to its change."""
        times = tuple(self.times.values())
        change, self.saga.change = self.saga.change, self.saga.store.change()
        change.update(Job, self.job.id, revision=self.job.revision, times=times, **columns)
        for attempt in itertools.count(1):
            try:
                await change.commit()
                break
            except Unavailable:  # it may have been committed: read before asking again
                await asyncio.sleep(_pause(attempt))
                if await self._is_written():
                    break
            except Stale as stale:
                raise Lost(self.job.id) from stale
        self.job = replace(self.job, revision=self.job.revision + 1, times=times, **columns)
        self.saga.job = self.job

    async def _is_written(self) -> bool:
        """Whether the record stands one revision further, by our hand."""
        try:
            found = await self.saga.store.get(Job, self.job.id)
        except Unavailable:
            return False
        if found.revision == self.job.revision:
            return False
        if found.owner == self.job.owner and found.revision == self.job.revision + 1:
            return True
        raise Lost(self.job.id)

    # -- forward ---------------------------------------------------------------------------

    async def forward(self) -> None:
        """Take every step that has no result; at the first failure, turn round."""
        steps = self.saga.steps()
        for step, after in zip(steps, (*steps[1:], None), strict=True):
            if step.name in self.job.results:
                continue
            if step.name not in self.job.started:
                await self.write(started=(*self.job.started, step.name))
            try:
                result = await self._take(step)
                self.saga.results[step.name] = result
                if after is None:
                    await self._end(JobState.DONE, step, result)
                else:
                    await self.write(
                        results=self._with(step, result),
                        started=(*self.job.started, after.name),
                    )
            except Fault as fault:
                self.saga.results.pop(step.name, None)
                self.saga.change = self.saga.store.change()
                await self._turn(step, fault)
                return

    async def _turn(self, step: Step[Any], fault: Fault) -> None:
        log.warning(
            "step failed", saga=self.job.verb, step=step.name, job_id=self.job.id,
            object=self.job.object_id, why=fault.message, detail=fault.detail,
        )  # fmt: skip
        await self.write(state=JobState.UNWINDING, fault=fault.message, fault_code=fault.code)

    async def _take(self, step: Step[Any]) -> Any:
        began = now()
        self.times[step.name] = StepTime(id=step.name, began=wall())

        async def act(saga: Saga[Any]) -> Any:
            await self.hook("before", step)
            result = await step.do(saga)
            await self.hook("after", step)
            return result

        result, tries = await self._insist(act, STEP_TRIES)
        took = now() - began
        self.times[step.name] = replace(
            self.times[step.name], ended=self.times[step.name].began + took, tries=tries
        )
        metrics.STEP_S.labels(self.job.verb, step.name).observe(took)
        return result

    def _with(self, step: Step[Any], result: Any) -> dict[str, Any]:
        return {**self.job.results, step.name: msgspec.to_builtins(result)}

    # -- back ------------------------------------------------------------------------------

    async def back(self) -> None:
        """Undo every step that started, last first; an undo is tried until it works."""
        for step in reversed(self.saga.steps()):
            if step.name not in self.job.started:
                continue
            self.saga.results.pop(step.name, None)
            if step.undoing is not None:
                try:
                    await self._undo(step, step.undoing)
                except Gone:
                    pass  # what it held went with it: nothing is left to undo
                except Fault as fault:
                    self.saga.change = self.saga.store.change()
                    await self._stuck(step, fault)
                    return
            started = tuple(name for name in self.job.started if name != step.name)
            results = {k: v for k, v in self.job.results.items() if k != step.name}
            await self.write(started=started, results=results)
        try:
            await self._end(JobState.FAILED)
        except Fault as fault:  # its last word cannot be written; the job must end all the same
            log.error("cannot tell the owner", saga=self.job.verb, job_id=self.job.id,
                      why=fault.message)  # fmt: skip
            await self._end(JobState.FAILED, tell=False)

    async def _undo(self, step: Step[Any], undoing: Callable[[Any], Awaitable[None]]) -> None:
        async def act(saga: Saga[Any]) -> None:
            await self.hook("undo", step)
            await undoing(saga)

        await self._insist(act, None)

    async def _stuck(self, step: Step[Any], fault: Fault) -> None:
        """The locks stay: nobody may touch the object before an operator did."""
        log.error("job is stuck", saga=self.job.verb, step=step.name, job_id=self.job.id,
                  object=self.job.object_id, why=fault.message)  # fmt: skip
        why = f"{self.job.fault}; then undoing {step.name} failed: {fault.message}"
        await self.write(state=JobState.STUCK, fault=why, ended=wall())
        metrics.JOBS.labels(self.job.verb, JobState.STUCK).inc()

    async def _end(
        self,
        state: JobState,
        step: Step[Any] | None = None,
        result: Any = None,
        tell: bool = True,
    ) -> None:
        """The last commit: the end of the job, and all that becomes true with it."""
        self.saga.change = self.saga.change if tell else self.saga.store.change()
        if tell and state is JobState.DONE:
            await self.saga.succeeded()
        elif tell:
            await self.saga.failed(self.job.fault)
        for need in self.job.needs:
            self.saga.change.delete(Lock, need)
        self._record(state)
        results = self._with(step, result) if step else self.job.results
        await self.write(state=state, results=results, ended=wall())
        metrics.JOBS.labels(self.job.verb, state).inc()

    def _record(self, state: JobState) -> None:
        """What the account's listEvents shows."""
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
                level="ERROR" if failed else "INFO",
                account=account.id,  # type: ignore[arg-type]
                domain=account.domain,
                user=job.user,
                job=job.id,  # type: ignore[arg-type]
                object_kind=job.object_kind,
                object_id=job.object_id,
                created=wall(),
            )
        )

    async def _insist(
        self, act: Callable[[Any], Awaitable[Any]], tries: int | None
    ) -> tuple[Any, int]:
        """Ask again while the fault says that it may help: a step some times, an undo for ever."""
        for attempt in itertools.count(1):
            try:
                return await act(self.saga), attempt
            except Fault as fault:
                self.saga.change = self.saga.store.change()
                if not fault.retry or attempt == tries:
                    raise
                await asyncio.sleep(_pause(attempt))
        raise AssertionError("count never ends")


class Engine:
    """Takes claimed jobs to their end."""

    def __init__(
        self, kinds: dict[str, type[Saga[Any]]], bus: Bus, store: Store, view: View
    ) -> None:
        self._kinds = kinds
        self._bus, self._store, self._view = bus, store, view
        self.hook: Hook = no_hook

    def first_step(self, verb: str) -> tuple[str, ...]:
        """What to write into `started` when the job is claimed; nothing if the saga is unknown."""
        kind = self._kinds.get(verb)
        return (kind.steps()[0].name,) if kind else ()

    async def run(self, job: Job, fence: int) -> Job:
        """Take the job from wherever its record says it is to an end; returns its last record.

        The fence travels with every call: the number of the commit that claimed the job.
        """
        run = await self._prepared(job)
        if run is None:
            return job
        with acting(trace=job.trace, fence=fence):
            try:
                if run.job.state is JobState.RUNNING:
                    await run.forward()
                if run.job.state is JobState.UNWINDING:
                    await run.back()
            except Lost:
                log.info("job was taken over", job_id=job.id)
        return run.job

    async def _prepared(self, job: Job) -> Run | None:
        kind = self._kinds.get(job.verb)
        if kind is None:
            log.error("no saga is installed for this job", verb=job.verb, job_id=job.id)
            return None
        try:
            saga = kind(job, order_of(kind, job), self._bus, self._store, self._view)
            for step in kind.steps():
                if step.name in job.results:
                    saga.results[step.name] = msgspec.convert(
                        job.results[step.name], step.result_type
                    )
        except (Broken, msgspec.ValidationError):
            log.exception("this job cannot be read; was its saga changed?", job_id=job.id)
            return None
        return Run(job, saga, self.hook)


def _pause(attempt: int) -> float:
    return min(PAUSE_S * 2.0 ** (attempt - 1), PAUSE_MAX_S)
