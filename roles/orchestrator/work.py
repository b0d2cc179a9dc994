"""Claims jobs and runs them: the part of the orchestrator that does what was ordered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from csnode import metrics
from csnode.clock import wall
from csnode.context import acting
from csnode.contracts.data import Commit
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Conflict, Fault, NotFound
from csnode.log import logger
from csnode.model.ids import orchestrator_lease
from csnode.model.job import Cancel, Job, JobState
from csnode.model.stock import Lock
from csnode.saga.attempt import cancelled
from csnode.saga.engine import Engine
from csnode.types import NodeId
from roles.orchestrator.claim import Queue, Turns, owner_of
from roles.orchestrator.config import OrchestratorConfig

Claimed = tuple[Job, int] | None  # with the fence of the claim
Way = Callable[[Job], Awaitable[Claimed]]
log = logger("orchestrator")


class Work:
    """The jobs of one orchestrator. `me` names this start of it: a restarted one is another."""

    def __init__(
        self, config: OrchestratorConfig, me: NodeId, store: Store, view: View, engine: Engine
    ) -> None:
        self.config, self.me = config, me
        self.store, self.engine = store, engine
        self.queue, self.turns = Queue(), Turns()
        self.running: dict[str, asyncio.Task[None]] = {}
        self._view = view
        self.peers: Sequence[str] = (me,)  # live orchestrators, by the name they claim under
        self.accepting = True
        self._strange: set[str] = set()  # verbs that this version has no saga for
        for job in view.all(Job):
            self.queue.note(None, job)
        view.listen(Job, self._noted)
        view.listen(Cancel, self._cancel_noted)

    def _noted(self, old: Job | None, new: Job | None) -> None:
        self.queue.note(old, new)
        metrics.JOBS_OPEN.set(len(self.queue.open))
        if new is None or not new.open or new.owner is not None:
            for gone in filter(None, (old, new)):
                self.turns.drop(gone.account or "", gone.id)
        if new is not None and new.open:
            self.consider(new)
        elif old is not None and old.open:
            for job in self.queue.behind(old):
                self.consider(job)

    def _cancel_noted(self, _: Cancel | None, new: Cancel | None) -> None:
        if new is None:
            return
        if new.id in self.running:
            self.engine.cancel(new.id, new.by)
        elif (job := self.queue.open.get(new.id)) is not None:
            self.consider(job)

    def consider(self, job: Job) -> None:
        """Claim the job if it is ours to claim and its turn; out of turn if it was cancelled."""
        if not self.accepting or job.id in self.running or job.owner is not None:
            return
        if not self._knows(job):
            return
        if owner_of(job.id, self.peers) != self.me and not self._is_overdue(job):
            return
        if self._view.maybe(Cancel, job.id) is not None:
            self._start(job, self._claim_cancelled)
        elif self.queue.is_next(job):
            self.turns.wait(job.account or "", job.id)
            self._fill()

    def _fill(self) -> None:
        """Begin jobs as long as there is room; accounts take turns."""
        while (id := self.turns.take(self.config.jobs_max - len(self.running))) is not None:
            job = self.queue.open.get(id)
            if job is not None and job.owner is None and id not in self.running:
                self._start(job, self._claim)

    def _knows(self, job: Job) -> bool:
        """Tell whether we can do the job.

        Another orchestrator, of a newer version or with a plug-in, does what we cannot.
        """
        known = self.engine.knows(job.verb)
        if not known and job.verb not in self._strange:
            self._strange.add(job.verb)
            log.warning("no saga is installed here for such jobs", verb=job.verb, job_id=job.id)
        return known

    def _is_overdue(self, job: Job) -> bool:
        return wall() - job.created > self.config.grace_seconds

    def look(self) -> None:
        """Look at what waits, and at what lost its owner: the turn that makes events optional."""
        for job in tuple(self.queue.owned.values()):
            if job.id not in self.running and self.accepting:
                if job.owner == self.me:
                    self._start(job, self._resume)
                elif job.owner not in self.peers and self._knows(job):
                    self._start(job, self._take_over)
        for job in sorted(self.queue.next(), key=lambda j: (j.created, j.id)):
            self.consider(job)
        for cancel in self._view.all(Cancel):
            self._cancel_noted(None, cancel)

    def _start(self, job: Job, way: Way) -> None:
        task = asyncio.create_task(self._carry(job, way))
        self.running[job.id] = task
        self.turns.began(job.account or "")
        task.add_done_callback(lambda _: self._ended(job))

    def _ended(self, job: Job) -> None:
        """Consider whoever stood behind it when its end is in the view; others now."""
        self.running.pop(job.id, None)
        self.turns.ended(job.account or "")
        if self.accepting:
            self._fill()

    async def _carry(self, job: Job, way: Way) -> None:
        try:
            with acting(trace=job.trace):
                claimed = await way(job)
                if claimed is not None:
                    await self.engine.run(*claimed)
        except Fault as fault:  # the next look tries again
            log.warning("job waits", job_id=job.id, why=fault.message, detail=fault.detail)
        except Exception:
            log.exception("job broke", job_id=job.id, verb=job.verb)

    async def _claim(self, job: Job) -> Claimed:
        """Make the job ours and its objects its own, in one commit; None if somebody was faster."""
        change = self.store.change()
        claimed: dict[str, Any] = {
            "owner": self.me,
            "state": JobState.RUNNING,
            **self.engine.beginning(job.verb),
        }
        change.update(Job, job.id, revision=job.revision, **claimed)
        for need in job.needs:
            change.create(Lock(id=need, job=job.id))
        try:
            committed = await change.commit()
        except (Conflict, NotFound):
            return await self._behind_stuck(job)
        return replace(job, revision=job.revision + 1, **claimed), committed.number

    async def _claim_cancelled(self, job: Job) -> Claimed:
        """Claim a cancelled job that never began: it is ours to end, wherever it stands in line."""
        cancel = self._view.maybe(Cancel, job.id)
        return await self._claim_as_failed(job, cancelled(cancel.by)) if cancel else None

    async def _behind_stuck(self, job: Job) -> Claimed:
        """Fail a job that needs what a stuck one holds for an operator: it is told at once."""
        locks = (self._view.maybe(Lock, need) for need in job.needs)
        for holder in (self._view.maybe(Job, lock.job) for lock in locks if lock):
            if holder is not None and holder.state is JobState.STUCK:
                why = Conflict(f"job {holder.id} is stuck with it: {holder.fault}")
                return await self._claim_as_failed(job, why)
        return None

    async def _claim_as_failed(self, job: Job, why: Fault) -> Claimed:
        """Make the job ours with nothing of it begun, so that all it does is to end. It does not
        need its objects any more: it takes no locks."""
        claimed: dict[str, Any] = {
            "owner": self.me,
            "state": JobState.UNWINDING,
            "fault": why.message,
            "fault_code": why.code,
        }
        change = self.store.change()
        change.update(Job, job.id, revision=job.revision, **claimed)
        try:
            committed = await change.commit()
        except (Conflict, NotFound):
            return None
        return replace(job, revision=job.revision + 1, **claimed), committed.number

    async def _resume(self, job: Job) -> Claimed:
        """Resume a job that is ours, and that nobody works on: a turn of ours broke.

        Any later number will do. Our view may be behind: one that another has taken over meanwhile
        is his.
        """
        fence = await self.store.data.head((Job.kind, Lock.kind))
        found = await self.store.get(Job, job.id)
        return (found, fence) if found.owner == self.me else None

    async def _take_over(self, job: Job) -> Claimed:
        """Take the job of an orchestrator whose lease has run out; Conflict while it lives.

        With leases in the data service the commit itself proves that it ran out; otherwise we
        hold it ourselves meanwhile (csnode.lease.lease.Endings says why that is enough).
        """
        change = self.store.change()
        change.update(Job, job.id, revision=job.revision, owner=self.me)
        try:
            lease = orchestrator_lease(job.owner or "")
            async with self.store.leases.ended(lease, self.me) as proof:
                taken = await self.store.commit(Commit(changes=(*proof, *change.items)))
        except (Conflict, NotFound):
            return None
        log.info("took over a job", job_id=job.id, was=job.owner, verb=job.verb)
        return replace(job, revision=job.revision + 1, owner=self.me), taken.number

    async def drain(self) -> None:
        """Claim nothing more, and wait for what runs."""
        self.accepting = False
        if self.running:
            await asyncio.wait(self.running.values())

    async def abandon(self) -> None:
        """Let go of everything at once; whoever takes over goes on from the records."""
        self.accepting = False
        tasks = tuple(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
