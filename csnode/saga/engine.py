"""Runs sagas: forward, again after a crash, and back.

Every decision is written down before it is acted on. The record is the job's row, and each
write names the revision it follows: an engine that lost the job to another cannot write, and
the fence that travels with its calls keeps components from obeying it. The fence is the number
of the commit that gave the right to act: the claim on the way forward, the turn on the way back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from csnode.bus.bus import Bus
from csnode.clock import wall
from csnode.context import acting
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Broken
from csnode.log import logger
from csnode.model.job import Cancel, Job, JobState, StepTime
from csnode.saga.attempt import Lost
from csnode.saga.run import Hook, Run, no_hook
from csnode.saga.saga import Saga, order_of

log = logger("saga")


class Engine:
    """Takes claimed jobs to their end. `view` holds jobs, accounts and cancels, at least."""

    def __init__(
        self,
        kinds: dict[str, type[Saga[Any]]],
        bus: Bus,
        store: Store,
        view: View,
        places: int = 1,
    ) -> None:
        """Make an engine; a job that fails at one place is tried at others, at so many in all."""
        self.bus = bus
        self.hook: Hook = no_hook
        self.runs: dict[str, Run] = {}  # in hand, by the job's id
        self._kinds, self._places = kinds, places
        self.store, self._view = store, view

    def knows(self, verb: str) -> bool:
        """Tell whether there is a saga for such jobs: another version may have more."""
        return verb in self._kinds

    def beginning(self, verb: str) -> dict[str, Any]:
        """Return the columns to write at a claim: the job's first step, and that it begins now."""
        kind = self._kinds.get(verb)
        if kind is None:
            return {}
        first = kind.steps()[0].name
        return {"started": (first,), "times": (StepTime(id=first, began=wall()),)}

    def cancel(self, job_id: str, by: str) -> None:
        """Turn the job round, if it is in hand and still goes forward."""
        run = self.runs.get(job_id)
        if run is not None:
            run.cancel(by)

    async def run(self, job: Job, fence: int) -> Job:
        """Take the job from wherever its record says it is to an end; returns its last record.

        The fence travels with every call: the number of the commit that claimed the job.
        """
        run = await self._prepared(job, fence)
        if run is None:
            return job
        self.runs[job.id] = run
        try:
            await self._through(run)
        except Lost:
            log.info("job was taken over", job_id=job.id)
        finally:
            del self.runs[job.id]
        return run.job

    async def _through(self, run: Run) -> None:
        cancel = self._view.maybe(Cancel, run.job.id)
        if cancel is not None:
            run.cancel(cancel.by)
        while run.job.open:  # more than once if it is tried elsewhere
            with acting(trace=run.job.trace, fence=run.fence):
                if run.job.state is JobState.RUNNING:
                    await run.forward()
            with acting(trace=run.job.trace, fence=run.fence):
                if run.job.state is JobState.UNWINDING:
                    await run.back()

    async def _prepared(self, job: Job, fence: int) -> Run | None:
        kind = self._kinds.get(job.verb)
        if kind is None:
            log.error("no saga is installed for this job", verb=job.verb, job_id=job.id)
            return None
        try:
            saga = kind(job, order_of(kind, job), self.bus, self.store, self._view)
            for step in kind.steps():
                if step.name in job.results:
                    saga.results[step.name] = msgspec.convert(
                        job.results[step.name], step.result_type
                    )
        except (Broken, msgspec.ValidationError):
            log.exception("this job cannot be read; was its saga changed?", job_id=job.id)
            return None
        return Run(job, saga, self.hook, fence, self._places)
