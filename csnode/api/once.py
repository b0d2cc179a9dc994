"""Asked twice, done once: how a request is recognised that was carried out before.

A request may be given a name, so that a client which lost the answer can ask again:

- the header `Idempotency-Key` (any caller; draft-ietf-httpapi-idempotency-key-header),
- `customid` and `customjobid` (root admins), which choose the ids of what is made and of its job.

Whatever a named request changes is committed together with its line of history, a UserEvent
whose id follows from account, command and name. Of two that are under way at once, at whatever
apis, the data service lets one commit; the other finds that line, and answers like the first.
The line keeps a digest of the parameters: the same name with others is a Conflict.

How long a name is remembered: as long as its line ([api] event_keep_days). Until then a
repetition is answered like the first request even if what it made is gone by now; it is not made
again. Afterwards a request is recognised by what it made, if that is still there (ids follow
from the key), and otherwise carried out anew. A refused request leaves no line, so its name is
free; a job that failed keeps its name, and its repetition is told of the same failed job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from csnode.api.parse import BY_SERVER
from csnode.data.view import View
from csnode.faults import Conflict, Invalid
from csnode.model.entity import Entity
from csnode.model.event import UserEvent
from csnode.model.job import Job
from csnode.types import AccountId, Struct, UserId
from csnode.uuids import id_of

KEY_MAX = 255
HEADER = "Idempotency-Key"


class First(Struct):
    """What the first request of that name was about, made, and ordered."""

    kind: str = ""
    id: str = ""
    job: str = ""


class Once(Struct):
    """A request that has one name or more. `made` is the kind of row that its command makes."""

    command: str
    account: AccountId
    user: UserId
    asked: str  # digest of the parameters
    key: str = ""
    custom_id: str = ""
    custom_job: str = ""
    made: type[Entity] | None = None

    def with_digest(self, asked: str) -> Once:
        """Return a copy that has the digest of its parameters, `asked`, once they are worth one."""
        return replace(self, asked=asked)

    def id(self, what: str) -> str:
        """Return the id of what is made under the key; empty without one."""
        return self._line("key", self.key, what) if self.key else ""

    @property
    def line(self) -> str:
        """The id of its line of history."""
        if self.key:
            return self._line("key", self.key)
        if self.custom_id:
            return self._line("customid", self.custom_id)
        return self._line("customjobid", self.custom_job)

    def first(self, view: View) -> First | None:
        """Return the request of that name that was carried out before, if the view has one.

        Raises Conflict if the name was given to something else.
        """
        job = view.maybe(Job, self.custom_job)
        if job is not None:
            return self._of_job(job, view)
        event = view.maybe(UserEvent, self.line)
        if event is not None:
            self._check(event)
            return First(kind=event.object_kind, id=event.object_id, job=event.job or "")
        return self._by_id(view)

    def _of_job(self, job: Job, view: View) -> First:
        if (job.command, job.account, job.user) != (self.command, self.account, self.user):
            raise Conflict(f"customjobid {job.id} is the id of another job: {_called(job)}")
        names = (("key", self.key), ("customid", job.object_id), ("customjobid", job.id))
        for event in (view.maybe(UserEvent, self._line(*name)) for name in names):
            if event is not None:
                self._check(event)
        return First(kind=job.object_kind, id=job.object_id, job=job.id)

    def _by_id(self, view: View) -> First | None:
        """Find it by what was made, where its line is no longer there, or has another name."""
        job = view.maybe(Job, self.id("job"))
        if job is not None:
            return First(kind=job.object_kind, id=job.object_id, job=job.id)
        id = self.custom_id or self.id("object")
        for job in view.by(Job, "object_id", id) if id else ():
            if (job.command, job.account) == (self.command, self.account):
                return First(kind=job.object_kind, id=id, job=job.id)
        row = view.maybe(self.made, id) if self.made and self.key and not self.custom_id else None
        return First(kind=row.kind, id=id, job=self.id("job")) if row is not None else None

    def _line(self, *name: str) -> str:
        return id_of("once", self.account, self.command, *name)

    def _check(self, event: UserEvent) -> None:
        if event.asked not in ("", self.asked):
            name = f"{HEADER} {self.key}" if self.key else (
                f"customid {self.custom_id}" if self.custom_id else f"customjobid {self.custom_job}"
            )  # fmt: skip
            raise Conflict(f"{name} was given to {self.command} with other parameters before")


def digest(params: Mapping[str, str], known: Iterable[str]) -> str:
    """Digest the parameters that the command knows.

    Credentials and chosen ids are none of those.
    """
    names = frozenset(known) - {"customid", "customjobid"}
    text = "".join(
        f"{len(name)}:{name}{len(value)}:{value}"
        for name, value in sorted(params.items())
        if name.partition("[")[0] in names
    )
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def checked_key(text: str) -> str:
    """Return the key in a header, with or without the quotes of the draft. Raises Invalid (400)."""
    key = text.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not key or len(key) > KEY_MAX or not key.isascii() or not key.isprintable():
        raise Invalid(
            f"{HEADER} must have 1 to {KEY_MAX} printable ASCII characters",
            code=400,
            cs=BY_SERVER,
        )
    return key


def _called(job: Job) -> str:
    return f"{job.command or job.verb} of {job.object_kind} {job.object_id}".rstrip()
