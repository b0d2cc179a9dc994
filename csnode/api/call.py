"""A call: one request under way, and all that a command may see of the rest of the cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from csnode.api.about import Rank
from csnode.api.backlog import Backlog
from csnode.api.once import Once
from csnode.api.parse import no_such
from csnode.api.reach import may_see
from csnode.api.shelf import Shelves
from csnode.api.turns import Turns
from csnode.clock import wall
from csnode.context import current
from csnode.data.change import Change
from csnode.data.view import View
from csnode.directory.directory import Member
from csnode.model.entity import Entity
from csnode.model.identity import Account
from csnode.model.job import Job, JobState
from csnode.model.orders import Order
from csnode.types import AccountId, DomainId, Struct, UserId
from csnode.uuids import new_id

E = TypeVar("E", bound=Entity)


class Caller(Struct):
    """Who asks. `user` is empty for the system itself."""

    user: UserId
    account: AccountId
    domain: DomainId
    rank: Rank


NOBODY = Caller(user=UserId(""), account=AccountId(""), domain=DomainId(""), rank=Rank.USER)


class Options(Struct):
    """What an operator may set about commands, in the [api] section of csnode.toml."""

    page_size_max: int = 500
    users_may_expunge: bool = False  # allow.user.expunge.recover.vm
    users_see_destroyed: bool = False  # allow.user.view.destroyed.vm
    patience_seconds: float = 8.0  # how long a request waits for a data service that is away
    session_seconds: int = 1800
    sessions_max: int = 50  # of one user; a login beyond that ends his oldest session
    login_attempts: int = 5  # wrong passwords in a row until the user is disabled; 0: no limit
    jobs_per_object: int = 32  # that have not ended; more orders are refused (535); -1: no limit
    jobs_per_account: int = 2000
    logins_waiting: int = 16  # of one address, for their passwords to be checked; more get 429
    throttle_max: int = 100  # requests of one account in one api, in ...; root admins: any number
    throttle_seconds: float = 1.0  # api.throttling.interval; 0 for throttle_max: no limit


class Asked(Struct):
    """The request as it came: what few commands (login) need besides their parameters."""

    command: str = ""
    params: Mapping[str, str] = {}
    post: bool = True
    cookies: Mapping[str, str] = {}
    key: str = ""  # the Idempotency-Key, as it was sent
    address: str = ""  # that sent it; "" inside the process
    foreign: bool = False  # a page of another site made it


class Call:
    """What a command's `run` is given."""

    def __init__(
        self, caller: Caller, asked: Asked, view: View, change: Change, shelves: Shelves,
        options: Options, logins: Turns, backlog: Backlog, once: Once | None = None,
        nodes: Sequence[Member] = (),
    ) -> None:  # fmt: skip
        """Make a call.

        `logins` checks passwords, and `backlog` bounds orders; `nodes` are those that the directory
        knows now.
        """
        self.caller, self.asked, self.view, self.change = caller, asked, view, change
        self.shelves, self.options = shelves, options
        self.headers: list[tuple[str, str]] = []  # of the answer
        self.about: Entity | None = None  # see `note`
        self.owner: Account | None = None
        self.ordered: list[Job] = []
        self.logins, self.nodes, self.backlog = logins, nodes, backlog
        self._once = once

    def note(self, *, about: Entity | None = None, owner: Account | None = None) -> None:
        """Say for the history what the call is about, and whose that is.

        Else it is about what `run` returns, and belongs to the caller.
        """
        self.about, self.owner = about or self.about, owner or self.owner

    def seen(self, kind: type[E], id: str, parameter: str = "id") -> E:
        """Return the row.

        Raises CloudStack's "entity does not exist" (431) if the caller may not see it.
        """
        row = self.view.maybe(kind, id)
        if row is None or not may_see(self.caller, row, self.view):
            raise no_such(self.asked.command, parameter, id)
        return row

    def new_id(self) -> str:
        """Return the id of what the command creates, asked for once in a `run`.

        A root admin may choose it by `customid`; it follows from the Idempotency-Key if there is
        one.
        """
        once = self._once
        return (once and (once.custom_id or once.id("object"))) or new_id()

    def order(self, order: Order, aside: bool = False) -> Job:
        """Add an order in the caller's name. Its id is chosen as the object's is (`customjobid`),
        unless it goes `aside`: then it is not the job that the caller is told of. Raises Crowded
        if too many jobs wait already.
        """
        once = None if aside else self._once
        job = self.change.order(
            order,
            command=self.asked.command,
            account=self.caller.account,
            user=self.caller.user,
            id=(once and (once.custom_job or once.id("job"))) or "",
        )
        self.backlog.admit(job)
        self.ordered.append(job)
        return job

    def done(self, row: Entity) -> Job:
        """Return the job of a command that CloudStack runs later and that is done with this commit.

        Its clients wait for a job; this one has ended before they ask.
        """
        at, once = wall(), self._once
        return self.change.create(
            Job(
                id=(once and (once.custom_job or once.id("job"))) or new_id(),
                verb="record",
                order={},
                state=JobState.DONE,
                command=self.asked.command,
                object_kind=row.kind,
                object_id=row.id,
                account=self.caller.account,
                user=self.caller.user,
                trace=current().trace,
                created=at,
                ended=at,
            )
        )

    def jobs(self, object_id: str) -> list[Job]:
        """Return the jobs not yet ended on an object, oldest first."""
        return open_jobs(self.view, object_id)


def open_jobs(view: View, object_id: str) -> list[Job]:
    """Return the jobs not yet ended on an object, oldest first."""
    found = [job for job in view.by(Job, "holds", object_id) if job.open]
    return sorted(found, key=lambda job: (job.created, job.id))


def job_at_work(view: View, object_id: str) -> Job | None:
    """Return the order that an object's state shows: the oldest one that has not ended."""
    found: Job | None = None
    for job in view.by(Job, "holds", object_id):
        if job.open and (found is None or (job.created, job.id) < (found.created, found.id)):
            found = job
    return found
