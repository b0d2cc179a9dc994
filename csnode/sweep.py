"""What the sweeps of compute, network and storage share: when a stranger may be taken away."""

from __future__ import annotations

from collections.abc import Collection

from csnode.clock import now
from csnode.data.store import Store
from csnode.log import logger
from csnode.model.job import Job, JobState

FEW = 3  # so many may always be taken away at once
log = logger("sweep")


class Strangers:
    """Things on one host or pool that no record has there, and since when that is so.

    One may be taken away once it was a stranger at every look for a while. If most of all there
    is are strangers, the records are wrong and not the world (a restored backup, another cloud's
    database): then nothing may be touched, and `trouble` says so.
    """

    def __init__(self, what: str, where: str, patience_seconds: float) -> None:
        """Take what is looked for, `what`, in the plural: "machines"."""
        self.trouble = ""
        self.many = False  # most of what there is: the records are not to be believed
        self._what, self._where, self._patience_s = what, where, patience_seconds
        self._since: dict[str, float] = {}

    def ripe(self, found: Collection[str], held: int, left: Collection[str] = ()) -> list[str]:
        """Return which of these strangers may be taken away; `held` is how many things there are.

        `left` are those of them of which the records say that they may be left somewhere: they
        are no sign of a wrong database.
        """
        moment = now()
        for stranger in sorted(set(found) - set(self._since)):
            log.warning("a stranger", what=self._what, id=stranger, where=self._where)
        self._since = {each: self._since.get(each, moment) for each in found}
        ripe = sorted(s for s, since in self._since.items() if moment - since >= self._patience_s)
        before, self.trouble = self.trouble, ""
        foreign = len(set(found) - set(left))
        self.many = foreign > FEW and foreign * 2 > held
        if not ripe or not self.many:
            return ripe
        self.trouble = (
            f"{foreign} of {held} {self._what} on {self._where} are in no record:"
            " is this the right database? None of them is touched"
        )
        if not before:
            log.error("too many strangers", why=self.trouble)
        return []


async def at_work(store: Store, object_id: str) -> bool:
    """Tell whether a job has the object: at work, or waiting, or stuck and an operator's."""
    jobs = await store.find(Job, object_id=object_id)
    return any(job.open or job.state is JobState.STUCK for job in jobs)


async def was_ours(store: Store, object_id: str) -> bool:
    """Tell whether this cloud had an object whose row is gone: its feed or a job says so.

    The feed of a busy cloud forgets within the hours in which a host may be off; jobs are kept
    for a day, however many there are.
    """
    if await store.data.history(object_id, "", 1):
        return True
    return bool(await store.find(Job, object_id=object_id))
