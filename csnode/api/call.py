"""A call: one request under way, and all that a command may see of the rest of the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from csnode.api.about import Rank
from csnode.api.parse import UUID, no_such
from csnode.api.reach import may_see
from csnode.api.shelf import Shelves
from csnode.data.change import Change
from csnode.data.view import View
from csnode.faults import Invalid
from csnode.model.entity import Entity
from csnode.model.identity import Account
from csnode.model.job import Job
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
    session_seconds: int = 1800
    login_attempts: int = 5  # wrong passwords in a row until the user is disabled; 0: no limit


class Asked(Struct):
    """The request as it came: what few commands (login) need besides their parameters."""

    command: str = ""
    params: Mapping[str, str] = {}
    post: bool = True
    cookies: Mapping[str, str] = {}


class Call:
    """What a command's `run` is given."""

    def __init__(
        self, caller: Caller, asked: Asked, view: View, change: Change, shelves: Shelves,
        options: Options,
    ) -> None:  # fmt: skip
        self.caller, self.asked, self.view, self.change = caller, asked, view, change
        self.shelves, self.options = shelves, options
        self.headers: list[tuple[str, str]] = []  # of the answer
        self.owner: Account | None = None  # whose history this belongs to, if not the caller's

    def seen(self, kind: type[E], id: str, parameter: str = "id") -> E:
        """The row; CloudStack's "entity does not exist" (431) if the caller may not see it."""
        row = self.view.maybe(kind, id)
        if row is None or not may_see(self.caller, row, self.view):
            raise no_such(self.asked.command, parameter, id)
        return row

    def new_id(self) -> str:
        """The id of what is about to be created: a root admin may choose it by `customid`."""
        return self._custom("customid") or new_id()

    def order(self, order: Order) -> Job:
        """Add an order in the caller's name; the job's id may be chosen by `customjobid`."""
        return self.change.order(
            order,
            command=self.asked.command,
            account=self.caller.account,
            user=self.caller.user,
            id=self._custom("customjobid"),
        )

    def jobs(self, object_id: str) -> list[Job]:
        """The jobs not yet ended on an object, oldest first."""
        return open_jobs(self.view, object_id)

    def _custom(self, name: str) -> str:
        wish = self.asked.params.get(name, "")
        if not wish or self.caller.rank is not Rank.ROOT_ADMIN:
            return ""
        if not UUID.fullmatch(wish):
            raise Invalid(f"{name} must be a UUID in lower case, not {wish}")
        return wish


def open_jobs(view: View, object_id: str) -> list[Job]:
    """The jobs not yet ended on an object, oldest first."""
    found = [job for job in view.by(Job, "object_id", object_id) if job.open]
    return sorted(found, key=lambda job: (job.created, job.id))


def job_at_work(view: View, object_id: str) -> Job | None:
    """The order that an object's state shows: the oldest one that has not ended."""
    found: Job | None = None
    for job in view.by(Job, "object_id", object_id):
        if job.open and (found is None or (job.created, job.id) < (found.created, found.id)):
            found = job
    return found
