"""Which job is to be claimed by whom, and when. Pure, but for the view it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from csnode.model.job import Job

Place = tuple[float, str]


class Queue:
    """Open jobs, and who waits for which object behind whom: first come, first served."""

    def __init__(self) -> None:
        self.open: dict[str, Job] = {}
        self._lines: defaultdict[str, dict[str, Place]] = defaultdict(dict)

    def note(self, old: Job | None, new: Job | None) -> None:
        """Keep up with the view: a job came, moved on, ended or went."""
        job = new or old
        if job is None:
            return
        if new is not None and new.open:
            self.open[job.id] = new
            for need in job.needs:
                self._lines[need][job.id] = (job.created, job.id)
            return
        self.open.pop(job.id, None)
        for need in job.needs:
            line = self._lines[need]
            line.pop(job.id, None)
            if not line:
                del self._lines[need]

    def is_next(self, job: Job) -> bool:
        """Whether nobody stands before it at any object it needs."""
        return all(self.ahead_of(job, need) == 0 for need in job.needs)

    def ahead_of(self, job: Job, need: str) -> int:
        """How many jobs stand before it at that object."""
        place = (job.created, job.id)
        return sum(other < place for other in self._lines[need].values())

    def behind(self, job: Job) -> Iterable[Job]:
        """Who may be next now that the job has ended."""
        for need in job.needs:
            for other in self._lines.get(need, ()):
                if other in self.open:
                    yield self.open[other]


def owner_of(job_id: str, orchestrators: Sequence[str]) -> str:
    """Who should claim it: rendezvous hashing, so all agree and few jobs move when one joins."""

    def weight(node: str) -> bytes:
        return blake2b(f"{node}\0{job_id}".encode(), digest_size=8).digest()

    return max(orchestrators, key=weight)
