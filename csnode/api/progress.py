"""How far a job is, and who waits for what: read off the records alone. Pure.

The steps that a saga still has before it are the saga's own business; the record names those
that were begun, and that is what is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from csnode.model.job import Job, JobState
from csnode.types import Struct

RUNNING, DONE, UNDOING, UNDONE, STUCK = "running", "done", "undoing", "undone", "stuck"


class StepShown(Struct):
    """One step of a job. Times are seconds since 1970, 0.0 where the record does not say."""

    name: str
    state: str  # running, done, undoing, undone, stuck
    began: float = 0.0
    ended: float = 0.0
    tries: int = 0  # so far as the record tells


class Ahead(Struct):
    """What a job waits for: an object, and the job that is first there."""

    need: str  # "vm:ID"
    job: str


class Place(Struct):
    """A job's place in the line for one object; whoever is at position 0 has it, or is next."""

    position: int
    job: Job
    behind: tuple[Ahead, ...] = ()  # at whatever objects; () for one whose turn it is


def steps_of(job: Job) -> list[StepShown]:
    """Return every step that was begun, in the order of the saga.

    A step's beginning is written down together with the end of the one before it: so that end
    is when a step began whose own time is not in the record yet.
    """
    times = {time.id: time for time in job.times}
    names = [*times, *(name for name in job.started if name not in times)]
    found: list[StepShown] = []
    for name in names:
        time = times.get(name)
        before = found[-1].ended if found else 0.0
        found.append(
            StepShown(
                name=name,
                state=_state(job, name),
                began=time.began if time else before,
                ended=time.ended if time else 0.0,
                tries=time.tries if time else 0,
            )
        )
    return found


def _state(job: Job, name: str) -> str:
    if name not in job.started:
        return DONE if job.state is JobState.DONE else UNDONE
    if name == job.started[-1] and job.state is JobState.UNWINDING:
        return UNDOING
    if name == job.started[-1] and job.state is JobState.STUCK:
        return STUCK
    return DONE if name in job.results or job.state is JobState.DONE else RUNNING


class Lines:
    """Who stands in line for what, among the jobs given: first come, first served."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._lines: defaultdict[str, list[Job]] = defaultdict(list)
        for job in sorted((job for job in jobs if job.open), key=_order):
            for need in job.needs:
                self._lines[need].append(job)

    def needs(self) -> list[str]:
        """Return every object that somebody stands in line for."""
        return list(self._lines)

    def behind(self, job: Job) -> tuple[Ahead, ...]:
        """Return the objects at which others stand before the job."""
        firsts = ((need, self._lines[need][0]) for need in job.needs if self._lines.get(need))
        return tuple(Ahead(need=n, job=first.id) for n, first in firsts if first.id != job.id)

    def at(self, need: str, holder: Job | None = None) -> list[Place]:
        """Return the line for one object. `holder` is a job that ended stuck, and keeps its
        objects.
        """
        first = [Place(position=0, job=holder)] if holder is not None else []
        return first + [
            Place(position=position, job=job, behind=self.behind(job))
            for position, job in enumerate(self._lines.get(need, ()), start=len(first))
        ]


def waits_for(place: Place) -> str:
    """Say in words what it waits for; empty for a job that is at work or has ended."""
    if place.behind:
        return ", ".join(f"{ahead.need}, where job {ahead.job} is first" for ahead in place.behind)
    return "an orchestrator" if place.job.state is JobState.WAITING else ""


def _order(job: Job) -> tuple[float, str]:
    return (job.created, job.id)
