"""Which job is to be claimed by whom, and when. Pure, but for the view it reads."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from csnode.model.job import Job

Place = tuple[float, str]


class Queue:
    """Open jobs, and who waits for which object behind whom: first come, first served.

    The head of each line is at hand, however long the line is: nothing here walks a line.
    """

    def __init__(self) -> None:
        self.open: dict[str, Job] = {}
        self.owned: dict[str, Job] = {}  # of those, the ones that some orchestrator claimed
        self._next: dict[str, None] = {}  # of those, the ones that nobody stands before
        self._lines: dict[str, list[Place]] = {}

    def note(self, old: Job | None, new: Job | None) -> None:
        """Keep up with the view: a job came, moved on, ended or went."""
        job = new or old
        if job is None:
            return
        known = job.id in self.open
        if new is None or not new.open:
            if known:
                self._leave(self.open.pop(job.id))
            self.owned.pop(job.id, None)
            return
        self.open[job.id] = new
        if new.owner is None:
            self.owned.pop(job.id, None)
        else:
            self.owned[job.id] = new
        if not known:
            self._enter(new)

    def is_next(self, job: Job) -> bool:
        """Tell whether nobody stands before it at any object it needs."""
        place = (job.created, job.id)
        return all(self._lines[need][0] >= place for need in job.needs if need in self._lines)

    def next(self) -> list[Job]:
        """Return the jobs that nobody stands before: at work, or to be claimed."""
        return [self.open[id] for id in self._next]

    def behind(self, job: Job) -> Iterable[Job]:
        """Find who may be next now that the job has ended: the heads of the lines it stood in."""
        heads = (self._lines[need][0] for need in job.needs if need in self._lines)
        return [self.open[id] for _, id in heads]

    def _enter(self, job: Job) -> None:
        place = (job.created, job.id)
        for need in job.needs:
            line = self._lines.setdefault(need, [])
            insort(line, place)
            if line[0] == place and len(line) > 1:  # a clock was behind: it came before the first
                self._next.pop(line[1][1], None)
        if self.is_next(job):
            self._next[job.id] = None

    def _leave(self, job: Job) -> None:
        place = (job.created, job.id)
        self._next.pop(job.id, None)
        for need in job.needs:
            line = self._lines[need]
            del line[bisect_left(line, place)]
            if not line:
                del self._lines[need]
        for head in self.behind(job):
            if self.is_next(head):
                self._next[head.id] = None


class Turns:
    """Whose job is begun next: accounts take turns, and none takes the last places.

    An account may have as many jobs at work as places are left free. One alone so takes half of
    them, two a third each; whoever comes next finds a place, however many wait already.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, None]] = {}  # by account: whose turn it is comes first
        self._at_work: Counter[str] = Counter()

    def wait(self, account: str, job: str) -> None:
        """Put a job in line that could begin now."""
        self._waiting.setdefault(account, {})[job] = None

    def drop(self, account: str, job: str) -> None:
        """Drop a job that need not begin here any more."""
        jobs = self._waiting.get(account, {})
        jobs.pop(job, None)
        if not jobs:
            self._waiting.pop(account, None)

    def began(self, account: str) -> None:
        """Note that a job of the account is at work."""
        self._at_work[account] += 1

    def ended(self, account: str) -> None:
        """Note that one of them is at work no more."""
        self._at_work[account] -= 1
        if not self._at_work[account]:
            del self._at_work[account]

    def take(self, free: int) -> str | None:
        """Take the job to begin now that so many places are free.

        Its account's next turn is last.
        """
        for account, jobs in self._waiting.items():
            if self._at_work[account] < free:
                job = next(iter(jobs))
                del self._waiting[account], jobs[job]
                if jobs:
                    self._waiting[account] = jobs
                return job
        return None


def owner_of(job_id: str, orchestrators: Sequence[str]) -> str:
    """Choose who should claim it: rendezvous hashing, so all agree and few jobs move at a join."""

    def weight(node: str) -> bytes:
        return blake2b(f"{node}\0{job_id}".encode(), digest_size=8).digest()

    return max(orchestrators, key=weight)
