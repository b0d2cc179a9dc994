"""queryAsyncJobResult, listAsyncJobs: how far jobs are, and what came of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from csnode.api.about import About, Moment
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import AccountList, Test
from csnode.api.parse import no_such
from csnode.api.reach import may_see
from csnode.api.shelf import Shelf
from csnode.api.view import Shown, for_rank
from csnode.faults import Denied, Invalid
from csnode.model.job import Job
from csnode.types import JobId
from roles.api.views.job import INSTANCE_TYPES, JobView, job_result


@command(
    "queryAsyncJobResult",
    answers=Answers.BARE,
    shows=JobView,
    java="org.apache.cloudstack.api.command.user.job.QueryAsyncJobResultCmd",
)
class QueryAsyncJobResult(ApiCommand):
    """Says how far a job is, and what came of it."""

    job_id: Annotated[JobId | None, About("the id of the job")] = None
    resource_id: Annotated[str | None, About("or the id of what it is about")] = None
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
    resource_id: Annotated[str | None, About("about this object")] = None
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


def shown(job: Job, call: Call) -> JobView:
    """The job with its result, which is the object as it is now."""
    plain = JobView.made(job, call.view)
    return msgspec.structs.replace(
        plain, job_result=job_result(job, call.shelves, call.caller.rank)
    )
