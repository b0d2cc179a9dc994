"""Jobs, their owners and their locks: whether every accepted job will end (P1)."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from csnode.model.ids import orchestrator_in, orchestrator_lease
from csnode.model.job import Cancel, Job, JobState
from csnode.model.stock import Lease, Lock
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, DropRow, Finding, FreeJob

GRACE_S = 15.0  # two leases: so long nobody need have noticed that an orchestrator is gone
UNCLAIMED_S = 30.0
SWEPT_S = 90.0  # after so long the orchestrator's sweep has been by

STUCK = Check(
    "job-stuck", "P1", "job",
    cause="an undo was refused for good; its objects are kept for somebody who looks",
    remedy="mend what it names, then `csnode job retry`; or `csnode job release`, which ends it",
)  # fmt: skip
OWNERLESS = Check(
    "job-without-lease", "P1", "job",
    cause="its orchestrator is gone and no other has taken the job over",
    remedy="start an orchestrator; it takes the job over within seconds",
)  # fmt: skip
UNCLAIMED = Check(
    "job-unclaimed", "P1", "job",
    cause="no orchestrator runs, or none can reach the data service",
    remedy="start an orchestrator",
)  # fmt: skip
UNLOCKED = Check(
    "job-without-lock", "P2", "job",
    cause="somebody deleted the lock, or another job took it",
    remedy="cancel the job (`csnode job cancel`); two jobs may be at work on one object",
)  # fmt: skip
STRAY_LOCK = Check(
    "lock-without-job", "P1", "lock",
    cause="a job ended and left it, or somebody deleted the job's row",
    remedy="delete the lock: jobs for the object wait behind it for ever",
)  # fmt: skip
STRAY_CANCEL = Check(
    "cancel-without-job", "P1", "cancel",
    cause="the job ended before it was turned round, and the sweep has not been by",
    remedy="delete the row",
)  # fmt: skip


def stuck(ev: Evidence) -> Iterator[Finding]:
    """Find jobs that wait for an operator."""
    for job in ev.all(Job):
        if job.state is JobState.STUCK:
            what = f"{job.verb} of {job.object_kind} {job.object_id} is stuck: {job.fault}"
            yield STUCK.found(job.id, what, repair=FreeJob(job=job.id))


def owners(ev: Evidence) -> Iterator[Finding]:
    """Find jobs that nobody will carry on with."""
    alive = any(
        orchestrator_in(lease.id) is not None and lease.holder and lease.until > ev.wall
        for lease in ev.all(Lease)
    )
    first = _first_in_line(ev)
    for job in ev.all(Job):
        if not job.open:
            continue
        if job.owner is not None:
            lease = ev.get(Lease, orchestrator_lease(job.owner))
            if lease is None or lease.until + GRACE_S < ev.wall:
                yield OWNERLESS.found(
                    job.id, f"{job.verb} belongs to {job.owner}, who holds no lease"
                )
        elif job.id in first and job.created + UNCLAIMED_S < ev.wall:
            waits = f"{job.verb} has waited for {ev.wall - job.created:.0f} s, and is next"
            cause = "no saga is installed for it, or all orchestrators are full" if alive else ""
            yield UNCLAIMED.found(job.id, waits, cause=cause)


def locks(ev: Evidence) -> Iterator[Finding]:
    """Check that whoever works alone on an object has its lock, and nobody else."""
    for job in ev.all(Job):
        if job.open and job.owner is not None:
            for need in job.needs:
                lock = ev.get(Lock, need)
                if lock is None or lock.job != job.id:
                    holder = f"job {lock.job} has it" if lock else "nobody has it"
                    yield UNLOCKED.found(
                        job.id, f"{job.verb} works without the lock {need}: {holder}"
                    )
    for lock in ev.all(Lock):
        if ev.get(Job, lock.job) is None:
            cure = DropRow(kind=Lock.kind, id=lock.id, revision=lock.revision)
            yield STRAY_LOCK.found(
                lock.id, f"it is kept for job {lock.job}, which is over", repair=cure
            )


def cancels(ev: Evidence) -> Iterator[Finding]:
    """Check that a wish to end a job goes with the job."""
    for wish in ev.all(Cancel):
        job = ev.get(Job, wish.id)
        if (job is None or not job.open) and wish.created + SWEPT_S < ev.wall:
            cure = DropRow(kind=Cancel.kind, id=wish.id, revision=wish.revision)
            yield STRAY_CANCEL.found(wish.id, f"{wish.by or 'somebody'} cancelled it", repair=cure)


def _first_in_line(ev: Evidence) -> set[str]:
    """Open jobs that stand behind no other at any object they need."""
    held = {lock.id for lock in ev.all(Lock)}
    first: set[str] = set()
    for job in sorted(ev.all(Job), key=attrgetter("created", "id")):
        if job.open and held.isdisjoint(job.needs):
            first.add(job.id)
        held |= set(job.needs)
    return first


CHECKS = (stuck, owners, locks, cancels)
