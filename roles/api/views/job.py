"""Jobs and events: what happened, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from csnode.api.about import About, Date, Long, Rank, Word
from csnode.api.command import COMMANDS
from csnode.api.progress import Place, StepShown, waits_for
from csnode.api.shelf import Shelves
from csnode.api.view import Part, Shown, date, names
from csnode.data.view import View
from csnode.faults import NotFound
from csnode.model.entity import Entity
from csnode.model.event import UserEvent
from csnode.model.identity import Account, Domain, User
from csnode.model.job import Cancel, Job, JobState
from csnode.model.vm import VmState

PENDING, SUCCEEDED, FAILED = 0, 1, 2
FAILED_CODE = 530
INSTANCE_TYPES: Mapping[str, str] = {  # CloudStack's words: its UI breaks on others
    "vm": "VirtualMachine",
    "template": "Template",
    "network": "Network",
    "volume": "Volume",
    "zone": "Zone",
    "pod": "Pod",
    "cluster": "Cluster",
    "host": "Host",
    "pool": "StoragePool",
    "physical_network": "PhysicalNetwork",
    "traffic_type": "TrafficType",
    "offering": "ServiceOffering",
    "disk_offering": "DiskOffering",
    "network_offering": "NetworkOffering",
    "domain": "Domain",
    "account": "Account",
    "user": "User",
}
GONE_STATE = {"vm": VmState.EXPUNGING}


class JobView(Shown):
    """A job."""

    key: ClassVar[str] = "asyncjobs"
    of: ClassVar[type[Entity]] = Job
    newest_first: ClassVar[bool] = True

    job_id: Annotated[str, About("the id of the job")]
    job_status: Annotated[int, About("0 under way, 1 succeeded, 2 failed")]
    job_proc_status: Annotated[int, About("0")]
    job_result_code: Annotated[int, About("0, or 530 if it failed")]
    job_result_type: Annotated[str | None, About("object")] = None
    job_result: Annotated[
        msgspec.Raw | None, About("what came of it"), Word("responseobject")
    ] = None  # fmt: skip
    job_instance_type: Annotated[str | None, About("what it is about")] = None
    job_instance_id: Annotated[str | None, About("the id of that")] = None
    cmd: Annotated[str, About("the command behind it")]
    created: Annotated[Date | None, About("when it was accepted")] = None
    completed: Annotated[Date | None, About("when it ended")] = None
    account_id: Annotated[str | None, About("whose it is")] = None
    account: Annotated[str | None, About("the name of that account")] = None
    domain_id: Annotated[str | None, About("the domain of that account")] = None
    domain_path: Annotated[str | None, About("the path of that domain")] = None
    user_id: Annotated[str | None, About("who asked for it")] = None

    @classmethod
    def made(cls, row: Job, view: View) -> JobView:
        account = view.maybe(Account, row.account)
        domain = view.maybe(Domain, account.domain if account else None)
        declared = COMMANDS.get(row.command.lower())
        return cls(
            job_id=row.id,
            job_status=job_status(row),
            job_proc_status=0,
            job_result_code=0 if row.open or row.state is JobState.DONE else FAILED_CODE,
            job_result_type=None if row.open else "object",
            job_instance_type=INSTANCE_TYPES.get(row.object_kind),
            job_instance_id=row.object_id or None,
            cmd=(declared.java if declared else "") or row.command or row.verb,
            created=date(row.created),
            completed=date(row.ended),
            account_id=row.account,
            account=account.name if account else None,
            domain_id=domain.id if domain else None,
            domain_path=domain.path if domain else None,
            user_id=row.user,
        )


class QueuedJobView(Shown):
    """A job that has an object, or waits for it."""

    key: ClassVar[str] = "queuedjob"

    position: Annotated[int, About("0 for the job that is at work on it, or next to be")]
    job_id: Annotated[str | None, About("the id of the job, if you may see it")] = None
    cmd: Annotated[str, About("the command behind it")]
    state: Annotated[str, About("waiting, running, unwinding, or stuck")]
    cancelled: Annotated[bool, About("whether somebody has cancelled it")]
    waits_for: Annotated[str | None, About("what it waits for")] = None
    worker: Annotated[
        str | None, About("the orchestrator that works on it", allows=Rank.ROOT_ADMIN)
    ] = msgspec.field(default=None, name="owner")
    created: Annotated[Date | None, About("when it was accepted")] = None
    account: Annotated[str | None, About("the name of the account whose it is")] = None
    account_id: Annotated[str | None, About("the id of that account")] = None
    domain_id: Annotated[str | None, About("the domain of that account")] = None
    domain_path: Annotated[str | None, About("the path of that domain")] = None

    @classmethod
    def placed(cls, place: Place, view: View, whole: bool) -> QueuedJobView:
        """Show a place in a line; of somebody else's job (not `whole`) only that it is there."""
        job = JobView.made(place.job, view)
        plain = cls(
            position=place.position,
            cmd=job.cmd,
            state=place.job.state.value,
            cancelled=view.maybe(Cancel, place.job.id) is not None,
            created=job.created,
        )
        if not whole:
            return plain
        return msgspec.structs.replace(
            plain,
            job_id=job.job_id,
            waits_for=waits_for(place) or None,
            worker=place.job.owner,
            account=job.account,
            account_id=job.account_id,
            domain_id=job.domain_id,
            domain_path=job.domain_path,
        )


class JobStepView(Shown):
    """A step of a job."""

    key: ClassVar[str] = "jobstep"

    name: Annotated[str, About("the name of the step: what comes of it")]
    state: Annotated[str, About("running, done, undoing, undone, or stuck")]
    began: Annotated[Date | None, About("when it began")] = None
    ended: Annotated[Date | None, About("when it was done")] = None
    duration: Annotated[Long | None, About("how long it took, in milliseconds")] = None
    tries: Annotated[int, About("how often it was tried")]

    @classmethod
    def of_step(cls, step: StepShown) -> JobStepView:
        """Show the step as the record has it."""
        return cls(
            name=step.name,
            state=step.state,
            began=date(step.began),
            ended=date(step.ended),
            duration=round((step.ended - step.began) * 1000) if step.ended else None,
            tries=step.tries,
        )


class EventView(Shown):
    """An event."""

    key: ClassVar[str] = "event"
    of: ClassVar[type[Entity]] = UserEvent
    newest_first: ClassVar[bool] = True

    id: Annotated[str, About("the id of the event")]
    type: Annotated[str, About("what happened, for example VM.CREATE")]
    level: Annotated[str, About("INFO, WARN or ERROR")]
    state: Annotated[str, About("Created, Scheduled, Started or Completed"), Word("state")]
    description: Annotated[str, About("what happened, in words")]
    username: Annotated[str | None, About("who did it")] = None
    account: Annotated[str | None, About("whose history it belongs to")] = None
    domain: Annotated[str | None, About("the domain of that account")] = None
    domain_id: Annotated[str | None, About("the id of that domain")] = None
    domain_path: Annotated[str | None, About("the path of that domain")] = None
    created: Annotated[Date | None, About("when")] = None
    resource_type: Annotated[str | None, About("what it happened to")] = None
    resource_id: Annotated[str | None, About("the id of that")] = None
    archived: Annotated[bool, About("whether it was put away")]

    @classmethod
    def made(cls, row: UserEvent, view: View) -> EventView:
        user = view.maybe(User, row.user)
        return cls(
            id=row.id,
            type=row.type,
            level=row.level,
            state=row.state,
            description=row.description,
            username=user.name if user else None,
            **names(view, row.account, row.domain),
            created=date(row.created),
            resource_type=INSTANCE_TYPES.get(row.object_kind),
            resource_id=row.object_id or None,
            archived=False,
        )


class GoneView(Part):
    """What is left to show of an object that its job has removed."""

    id: str
    state: str | None = None


def job_status(job: Job) -> int:
    """Return CloudStack's number for a job's state."""
    if job.open:
        return PENDING
    return SUCCEEDED if job.state is JobState.DONE else FAILED


def job_result(job: Job, shelves: Shelves, rank: Rank) -> msgspec.Raw | None:
    """Return what came of a job, under one key: the object as it is now, success, or the error."""
    if job.open:
        return None
    if job.state is not JobState.DONE:
        code = job.fault_code or FAILED_CODE
        return _raw({"errorcode": code, "errortext": job.fault or "the job failed"})
    declared = COMMANDS.get(job.command.lower())
    if declared is None or declared.shows is None:
        return _raw({"success": True})
    return msgspec.Raw(
        b'{"%b":%b}' % (declared.key.encode(), _object(job, declared.shows, shelves, rank))
    )


def _object(job: Job, shows: type[Shown], shelves: Shelves, rank: Rank) -> bytes:
    try:
        return shelves.of(shows).encoded(job.object_id, rank)
    except NotFound:
        state = GONE_STATE.get(job.object_kind)
        return msgspec.json.encode(GoneView(id=job.object_id, state=state))


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
