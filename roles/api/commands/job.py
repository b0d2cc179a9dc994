"""Jobs: how far they are, what came of them, who waits for whom; and how one is called off.

cancelAsyncJob, listJobQueue and listJobSteps are ours: CloudStack has nothing like them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from csnode.api.about import About, Free, Moment, Unscoped
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import AccountList, Test
from csnode.api.parse import no_such
from csnode.api.progress import Lines, steps_of
from csnode.api.reach import may_see
from csnode.api.shelf import Listing, Shelf
from csnode.api.view import Shown, encoded, for_rank
from csnode.clock import wall
from csnode.faults import Denied, Invalid, NotFound
from csnode.model.entity import Entity
from csnode.model.identity import Account, User
from csnode.model.ids import object_name, object_parts
from csnode.model.job import CLOSED, Cancel, Job, JobState
from csnode.model.network import Network
from csnode.model.stock import Lock
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import JobId
from roles.api.views.job import (
    INSTANCE_TYPES,
    JobStepView,
    JobView,
    QueuedJobView,
    job_result,
)

OPEN = tuple(state for state in JobState if state not in CLOSED)
OBJECTS: dict[str, type[Entity]] = {kind.kind: kind for kind in (Vm, Template, Network, Volume)}


@command(
    "queryAsyncJobResult",
    answers=Answers.BARE,
    shows=JobView,
    java="org.apache.cloudstack.api.command.user.job.QueryAsyncJobResultCmd",
)
class QueryAsyncJobResult(ApiCommand):
    """Says how far a job is, and what came of it."""

    job_id: Annotated[
        JobId | None, About("the id of the job"), Unscoped("another's is refused (531)")
    ] = None
    resource_id: Annotated[
        str | None,
        About("or the id of what it is about"),
        Free("of any kind: looked for among the jobs that the caller sees"),
    ] = None
    resource_type: Annotated[str | None, About("and what that is, for example Network")] = None

    async def run(self, call: Call) -> JobView:
        job = self._job(call)
        if not may_see(call.caller, job, call.view):
            raise Denied(f"Caller does not have permission to see job {job.id}")
        return shown(job, call)

    def _job(self, call: Call) -> Job:
        if self.job_id:
            job = call.view.maybe(Job, self.job_id)
            if job is None:
                raise no_such(call.asked.command, "jobid", self.job_id)
            return job
        if not self.resource_id or not self.resource_type:
            raise Invalid("Either jobid, or resourceid and resourcetype must be given")
        kinds = {wire.lower(): kind for kind, wire in INSTANCE_TYPES.items()}
        kind = kinds.get(self.resource_type.lower(), "")
        found = [j for j in call.view.by(Job, "object_id", self.resource_id)
                 if j.object_kind == kind]  # fmt: skip
        found = [job for job in found if may_see(call.caller, job, call.view)]
        if not found:
            raise no_such(call.asked.command, "resourceid", self.resource_id)
        return max(found, key=lambda job: (job.created, job.id))


@command(
    "listAsyncJobs",
    answers=Answers.LIST,
    shows=JobView,
    java="org.apache.cloudstack.api.command.user.job.ListAsyncJobsCmd",
)
class ListAsyncJobs(AccountList):
    """Lists jobs, the newest first."""

    shown: ClassVar[type[Shown]] = JobView

    start_date: Annotated[Moment | None, About("accepted on that day or later")] = None
    resource_id: Annotated[
        str | None, About("about this object"), Free("of any kind: it narrows what is shown")
    ] = None
    resource_type: Annotated[str | None, About("about objects of this type")] = None

    def tests(self, call: Call) -> list[Test]:
        del call
        tests: list[Test] = []
        if self.start_date is not None:
            start = self.start_date
            tests.append(lambda job: job.created >= start)
        if self.resource_id:
            tests.append(lambda job: job.object_id == self.resource_id)
        if self.resource_type:
            wanted = self.resource_type.lower()
            tests.append(lambda job: INSTANCE_TYPES.get(job.object_kind, "").lower() == wanted)
        return tests

    def rows(self, call: Call, shelf: Shelf, ids: list[str]) -> list[bytes]:
        del shelf  # it keeps jobs, not what came of them
        return [for_rank(shown(call.view.get(Job, id), call), call.caller.rank) for id in ids]

    def matches(self, row: Job, keyword: str) -> bool:
        return keyword in row.command.lower()


@command("cancelAsyncJob", answers=Answers.SUCCESS, event="JOB.CANCEL")
class CancelAsyncJob(ApiCommand):
    """Calls a job off: what it did so far is undone, and it ends as failed. (csnode only.)"""

    job_id: Annotated[JobId, About("the id of the job")]

    async def run(self, call: Call) -> None:
        job = call.seen(Job, self.job_id, "jobid")
        if job.state is JobState.STUCK:
            raise Invalid(f"job {job.id} is stuck and cannot be undone: {job.fault}")
        if not job.open:
            raise Invalid(f"job {job.id} has ended already: it is {job.state.value}")
        if job.ends_undone or call.view.maybe(Cancel, job.id) is not None:
            return  # that is what becomes of it
        user = call.view.maybe(User, call.caller.user)
        cancel = Cancel(id=job.id, by=user.name if user else "somebody", created=wall())
        call.change.create(cancel)
        call.note(about=job, owner=call.view.maybe(Account, job.account))


@command("listJobQueue", answers=Answers.LIST, shows=QueuedJobView)
class ListJobQueue(ApiCommand):
    """Lists the jobs that have an object or wait for it, in their order. (csnode only.)"""

    resource_id: Annotated[
        str,
        About("the id of the object"),
        Free("of any kind: looked for among the objects and jobs that the caller sees"),
    ]
    resource_type: Annotated[str | None, About("what it is, for example Network")] = None

    async def run(self, call: Call) -> Listing:
        view, rank = call.view, call.caller.rank
        jobs = [job for state in OPEN for job in view.by(Job, "state", state)]
        need = self._need(call, jobs)
        places = Lines(jobs).at(need, await _stuck_holder(call, need))
        seen = [(p, may_see(call.caller, p.job, view)) for p in places]
        rows = [for_rank(QueuedJobView.placed(p, view, own), rank) for p, own in seen]
        return Listing(count=len(rows), rows=rows)

    def _need(self, call: Call, jobs: list[Job]) -> str:
        """Return the object as jobs name it; its jobs tell of a kind that we cannot look up."""
        wires = {wire.lower(): kind for kind, wire in INSTANCE_TYPES.items()}
        wish = (self.resource_type or "").lower()
        kinds = {wires.get(wish, wish)} if wish else set(wires.values())
        for kind in sorted(kinds & OBJECTS.keys()):
            row = call.view.maybe(OBJECTS[kind], self.resource_id)
            if row is not None and may_see(call.caller, row, call.view):
                return object_name(kind, self.resource_id)
        for job in jobs:
            for need in job.needs:
                kind, id = object_parts(need)
                known = call.view.maybe(OBJECTS[kind], id) if kind in OBJECTS else None
                fits = id == self.resource_id and (not wish or kind in kinds)
                if fits and known is None and may_see(call.caller, job, call.view):
                    return need
        raise no_such(call.asked.command, "resourceid", self.resource_id)


@command("listJobSteps", answers=Answers.LIST, shows=JobStepView)
class ListJobSteps(ApiCommand):
    """Lists the steps that a job has begun, with their times. (csnode only.)"""

    job_id: Annotated[JobId, About("the id of the job")]

    async def run(self, call: Call) -> Listing:
        steps = steps_of(call.seen(Job, self.job_id, "jobid"))
        return Listing(count=len(steps), rows=[encoded(JobStepView.of_step(s)) for s in steps])


async def _stuck_holder(call: Call, need: str) -> Job | None:
    """Return the stuck job that keeps the object.

    Locks are not in the view: they come and go by far too many to be worth it.
    """
    try:
        lock = await call.change.get(Lock, need)
    except NotFound:
        return None
    job = call.view.maybe(Job, lock.job)
    return job if job is not None and job.state is JobState.STUCK else None


def shown(job: Job, call: Call) -> JobView:
    """Show the job with its result, which is the object as it is now."""
    plain = JobView.made(job, call.view)
    return msgspec.structs.replace(
        plain, job_result=job_result(job, call.shelves, call.caller.rank)
    )
