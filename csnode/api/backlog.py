"""How many jobs may wait: of one object, and of one account. Beyond that an order is refused.

Jobs for one object run one after the other, so what waits there helps nobody; and whoever may
queue without end takes the place of others. What was ordered here and does not show in the view
yet counts too, so that a thousand requests at once find the same bound as one after another; what
another api has under way does not: each lets in as many as are free when it looks.

Requests that were given one name order one job: it is counted once, until the last of them that
is under way gives it up.
"""

from __future__ import annotations

import math
from collections import Counter

from msgspec.structs import replace

from csnode.clock import now
from csnode.data.view import View
from csnode.faults import Full
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.types import Struct

SHOWN_S = 60.0  # a view that has not shown a job by then has missed it
AFTER_MAX_S = 60
WEIGHT = 0.2  # of the last job, in how long jobs take of late
Line = tuple[str, str]  # what for, and its id


class Crowded(Full):
    """Too many jobs wait already; one of them ends in about `after_s` seconds."""

    code = 535
    cs = 4370

    def __init__(self, message: str, after_s: int) -> None:
        super().__init__(f"{message}. Nothing was ordered; try again in {after_s} s")
        self.after_s = after_s


class Sent(Struct):
    """A job that was ordered and is not in the view yet."""

    job: Job
    since: float
    times: int = 1  # that it was ordered, and not withdrawn


class Backlog:
    """Counts the jobs that have not ended; follows the view by itself."""

    def __init__(self, view: View, per_object: int, per_account: int) -> None:
        """Bound the open jobs of an object and of an account; -1: no bound."""
        self._view = view
        self._object_max, self._account_max = per_object, per_account
        self._open: Counter[Line] = Counter()
        self._sent: dict[str, Sent] = {}  # the oldest first
        self._took = 1.0  # seconds a job takes, of late
        for job in view.all(Job):
            self._noted(None, job)
        view.listen(Job, self._noted)

    def admit(self, job: Job) -> None:
        """Count a job that is about to be ordered. Raises Crowded."""
        for old in tuple(self._sent.values()):
            if now() - old.since < SHOWN_S:
                break
            del self._sent[old.job.id]
            self._drop(old.job)
        shown, sent = self._view.maybe(Job, job.id), self._sent.get(job.id)
        counted = shown or (sent and sent.job)
        bounds = (self._object_max, self._account_max)
        for (what, id), most in zip(_lines(job), bounds, strict=True):
            if counted and (what, id) in _lines(counted):
                continue
            has = self._open[what, id]
            if id and 0 <= most <= has:
                raise Crowded(f"{self._name(what, id)} has {has} jobs that have not ended, "
                              f"and may have {most}", self._after_s)  # fmt: skip
        if sent is not None:
            self._sent[job.id] = replace(sent, times=sent.times + 1)
        elif shown is None:
            self._sent[job.id] = Sent(job=job, since=now())
            self._open.update(_lines(job))

    def withdraw(self, job: Job) -> None:
        """Forget an order of the job: it was not ordered after all, as far as we know."""
        sent = self._sent.get(job.id)
        if sent is not None and sent.times > 1:
            self._sent[job.id] = replace(sent, times=sent.times - 1)
        elif sent is not None:
            del self._sent[job.id]
            self._drop(sent.job)

    @property
    def _after_s(self) -> int:
        return max(1, min(AFTER_MAX_S, math.ceil(self._took)))

    def _name(self, what: str, id: str) -> str:
        account = self._view.maybe(Account, id) if what == "account" else None
        return f"{what} {account.name if account else id}"

    def _noted(self, old: Job | None, new: Job | None) -> None:
        if (job := new or old) is None:
            return
        sent = self._sent.pop(job.id, None)
        if sent is not None:
            self._drop(sent.job)  # which may be of another object, if that request lost
        counted, counts = old is not None and old.open, new is not None and new.open
        if counts and not counted:
            self._open.update(_lines(job))
        elif counted and not counts:
            self._drop(job)
        if (counted or sent) and not counts and job.ended and job.times:
            self._took += WEIGHT * (max(0.0, job.ended - job.times[0].began) - self._took)

    def _drop(self, job: Job) -> None:
        for line in _lines(job):
            self._open[line] -= 1
            if self._open[line] <= 0:
                del self._open[line]


def _lines(job: Job) -> tuple[Line, Line]:
    return (job.object_kind, job.object_id), ("account", job.account or "")
