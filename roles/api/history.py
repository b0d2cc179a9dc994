"""The line of history that a change leaves, and how a repeated request is known by it."""

from __future__ import annotations

from typing import Any

from csnode.api.about import Rank
from csnode.api.call import Asked, Call, Caller
from csnode.api.command import Declaration
from csnode.api.once import Once, checked_key, digest
from csnode.api.parse import UUID
from csnode.clock import wall
from csnode.context import current
from csnode.faults import Invalid
from csnode.model.entity import Entity
from csnode.model.event import EventState, UserEvent
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.types import AccountId, JobId
from csnode.uuids import new_id


def once_of(caller: Caller, asked: Asked, declared: Declaration) -> Once | None:
    """Return the names that the request was given; None if it has none, or changes nothing."""
    if not declared.changes or not caller.account:
        return None
    table = declared.table
    makes = "id" not in table.readers  # what has an id already is not made
    named = Once(
        command=declared.name,
        account=caller.account,
        user=caller.user,
        asked="",
        key=checked_key(asked.key) if asked.key else "",
        custom_id=_custom(caller, asked, "customid") if makes else "",
        custom_job=_custom(caller, asked, "customjobid"),
        made=declared.shows.of if makes and declared.shows and declared.shows.of.kind else None,
    )
    if not (named.key or named.custom_id or named.custom_job):
        return None
    return named.with_digest(digest(asked.params, (*table.readers, *table.maps)))


def _custom(caller: Caller, asked: Asked, name: str) -> str:
    """Return ids that root admins may choose; CloudStack ignores those of others."""
    wish = asked.params.get(name, "")
    if not wish or caller.rank is not Rank.ROOT_ADMIN:
        return ""
    if not UUID.fullmatch(wish):
        raise Invalid(f"{name} must be a UUID in lower case, not {wish}")
    return wish


def record(call: Call, declared: Declaration, result: Any, once: Once | None) -> None:
    """Add one line to listEvents, if the command is worth one or the request may be repeated."""
    if not declared.event and once is None:
        return
    owner = call.owner or call.view.maybe(Account, call.caller.account)
    if owner is None:
        return
    job = result if isinstance(result, Job) else None
    about = result if isinstance(result, Entity) else call.about
    kind, id = (about.kind, about.id) if about is not None else ("", "")
    if job is not None:
        kind, id = job.object_kind, job.object_id
    what = f"{declared.name} of {kind} {id}" if id else declared.name
    call.change.record(
        UserEvent(
            id=once.line if once else new_id(),
            type=declared.event or declared.name,
            description=f"Scheduled async job for {what}" if job else f"Completed {what}",
            account=AccountId(owner.id),
            domain=owner.domain,
            user=call.caller.user or None,
            state=EventState.SCHEDULED if job else EventState.COMPLETED,
            job=JobId(job.id) if job else None,
            object_kind=kind,
            object_id=id,
            trace=current().trace,
            created=wall(),
            asked=once.asked if once else "",
        )
    )
