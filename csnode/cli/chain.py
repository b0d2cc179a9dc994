"""The causal chain of an object, put together from the feed: what was asked, done, and seen.

Entries of one trace belong together: the API call, the job it ordered, that job's steps, every
commit, what users were told, and the facts that followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from csnode.context import role_and_node
from csnode.contracts.data import Data, Past
from csnode.data.store import Store
from csnode.faults import Fault, NotFound
from csnode.model.event import UserEvent
from csnode.model.identity import Account, User
from csnode.model.job import Job
from csnode.plugins import entity_kinds
from csnode.types import Struct

TRACE = re.compile(r"[0-9a-f]{32}")
_SECRET = re.compile(r"password|secret|user_data|fence_options|(^|_)key$")
TRACES_MAX = 50
ROWS_MAX = 50  # whose earlier entries are looked up, to say what a commit changed
HIDDEN = "..."


class Step(Struct):
    """One step of a job's saga; seconds since 1970, 0 for not yet."""

    step: str
    began: float
    ended: float
    tries: int


class JobSeen(Struct):
    """A job, as its last entry has it."""

    id: str
    verb: str
    state: str
    command: str
    object: str  # "vm ID"
    owner: str
    created: float
    ended: float
    fault: str
    steps: tuple[Step, ...]


class Call(Struct):
    """What somebody asked of the API."""

    at: float
    command: str
    user: str  # by name, if the user is still there
    account: str


class Write(Struct):
    """One row as one commit left it. `what` is created, changed or deleted.

    `changed` has the new values; secrets are left out. None: the entry before is not known.
    """

    number: int
    at: float
    by: str
    kind: str
    id: str
    revision: int
    what: str
    fact: bool  # what its role saw, not what somebody decided
    changed: dict[str, Any] | None


class Told(Struct):
    """What listEvents shows."""

    at: float
    type: str
    level: str
    description: str


class Chain(Struct):
    """All that belongs to one trace, each part in the order of time. `trace` may be empty."""

    trace: str
    calls: tuple[Call, ...]
    jobs: tuple[JobSeen, ...]
    commits: tuple[Write, ...]
    events: tuple[Told, ...]


async def chains(store: Store, wanted: str, limit: int) -> list[Chain]:
    """Find every chain of an object (or a trace), oldest first. NotFound if the feed has none."""
    past = _Past(store.data, limit)
    await past.read_row(wanted)
    if TRACE.fullmatch(wanted):
        await past.read_trace(wanted)
    for job in await store.find(Job, object_id=wanted):
        await past.read_row(job.id)
    if not past.entries:
        raise NotFound(f"nothing about {wanted} is in the feed; is the id right?")
    for trace in past.traces()[-TRACES_MAX:]:
        await past.read_trace(trace)
    for id in past.ids("job"):
        await past.read_row(id)
    await past.read_what_came_before()
    names = await _names(store, past)
    found = [_chain(trace, past, names) for trace in past.traces()]
    if any(not trace_of(p) for p in past.shown()):
        found.append(_chain("", past, names))
    return sorted(found, key=lambda chain: min(w.at for w in chain.commits))


class _Past:
    """Entries by number, gathered question by question."""

    def __init__(self, data: Data, limit: int) -> None:
        self._data, self._limit = data, limit
        self.entries: dict[int, Past] = {}
        self.before: dict[int, Past] = {}  # the same row's entry before it, by number
        self._only_before: set[int] = set()  # looked up to compare with, not to be shown

    async def read_row(self, id: str) -> None:
        self._add(await self._data.history(id, "", self._limit))

    async def read_trace(self, trace: str) -> None:
        self._add(await self._data.history("", trace, self._limit))

    async def read_what_came_before(self) -> None:
        """Read the earlier entries of rows whose first entry here is not their first."""
        lacking: dict[str, None] = {}
        seen: set[tuple[str, str]] = set()
        for past in self.shown():
            key = past.kind, past.entry.id
            if key not in seen and past.entry.revision > 1:
                lacking[past.entry.id] = None
            seen.add(key)
        shown = set(self.entries)
        for id in list(lacking)[:ROWS_MAX]:
            await self.read_row(id)
        self._only_before = set(self.entries) - shown
        last: dict[tuple[str, str], Past] = {}
        for _, past in sorted(self.entries.items()):
            key = past.kind, past.entry.id
            if key in last:
                self.before[past.entry.number] = last[key]
            last[key] = past

    def _add(self, found: Iterable[Past]) -> None:
        self.entries |= {past.entry.number: past for past in found}

    def shown(self) -> list[Past]:
        """Show the entries by rising number."""
        return [self.entries[n] for n in sorted(self.entries) if n not in self._only_before]

    def traces(self) -> list[str]:
        """Return the traces in the order in which they first appear."""
        return list(dict.fromkeys(trace for past in self.shown() if (trace := trace_of(past))))

    def ids(self, kind: str) -> list[str]:
        return list(dict.fromkeys(p.entry.id for p in self.shown() if p.kind == kind))


def trace_of(past: Past) -> str:
    """Return the trace of its commit; a job or event written outside belongs to what it names."""
    if not past.trace and past.kind in (Job.kind, UserEvent.kind):
        return str(_row(past).get("trace", ""))
    return past.trace


def _chain(trace: str, past: _Past, names: dict[str, str]) -> Chain:
    entries = [p for p in past.shown() if trace_of(p) == trace]
    jobs = {p.entry.id: p for p in past.shown() if p.kind == Job.kind and p.entry.row}
    here = {p.entry.id for p in entries if p.kind == Job.kind}
    seen = [_decoded(Job, jobs[id]) for id in jobs if id in here]
    ours = [job for job in seen if job is not None and job.trace == trace]
    told = [_decoded(UserEvent, p) for p in entries if p.kind == UserEvent.kind]
    events = [event for event in told if event is not None]
    return Chain(
        trace=trace,
        calls=tuple(_calls(ours, events, names)),
        jobs=tuple(_job(job) for job in sorted(ours, key=lambda job: job.created)),
        commits=tuple(_write(p, past.before.get(p.entry.number)) for p in entries),
        events=tuple(
            Told(at=e.created, type=e.type, level=e.level, description=e.description)
            for e in events
        ),
    )


def _calls(
    jobs: Sequence[Job], events: Sequence[UserEvent], names: dict[str, str]
) -> Iterable[Call]:
    """Yield the calls: known by the jobs they ordered; if none did, by what users were told."""
    for job in jobs:
        if job.command:
            user, account = names.get(job.user or "", ""), names.get(job.account or "", "")
            yield Call(at=job.created, command=job.command, user=user, account=account)
    if not jobs:
        for event in events:
            user, account = names.get(event.user or "", ""), names.get(event.account, "")
            command = event.description.removeprefix("Completed ").partition(" ")[0]
            yield Call(at=event.created, command=command, user=user, account=account)


def _job(job: Job) -> JobSeen:
    return JobSeen(
        id=job.id,
        verb=job.verb,
        state=job.state.value,
        command=job.command,
        object=f"{job.object_kind} {job.object_id}",
        owner=job.owner or "",
        created=job.created,
        ended=job.ended,
        fault=job.fault,
        steps=tuple(
            Step(step=t.id, began=t.began, ended=t.ended, tries=t.tries) for t in job.times
        ),
    )


def _write(past: Past, before: Past | None) -> Write:
    entry = past.entry
    old = _row(before) if before is not None else {}
    new = _row(past)
    changed: dict[str, Any] | None = None
    if not entry.row:
        what, changed = "deleted", {}
    elif entry.revision == 1:
        what, changed = "created", new
    else:
        what = "changed"
        if before is not None and before.entry.revision == entry.revision - 1:
            changed = {k: new.get(k) for k in sorted(old | new) if old.get(k) != new.get(k)}
    return Write(
        number=entry.number,
        at=past.at,
        by=past.by,
        kind=past.kind,
        id=entry.id,
        revision=entry.revision,
        what=what,
        fact=what == "changed" and _is_fact(past, changed),
        changed=None if changed is None else {k: hidden(k, v) for k, v in changed.items()},
    )


def _is_fact(past: Past, changed: dict[str, Any] | None) -> bool:
    kind = entity_kinds().get(past.kind)
    writers = kind.writers() if kind else {}
    role, _ = role_and_node(past.by)
    return bool(changed) and all(writers.get(column) == role for column in changed)


def _row(past: Past) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.json.decode(past.entry.row) if past.entry.row else {}
    return {k: v for k, v in row.items() if k not in ("id", "revision")}


def hidden(column: str, value: Any) -> Any:
    """Return the value without what nobody should read over a shoulder, at any depth."""
    if _SECRET.search(column) and value:
        return HIDDEN
    if isinstance(value, dict):
        return {k: hidden(k, v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [hidden("", v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _decoded(kind: type[Any], past: Past) -> Any:
    """Decode a row; None for one of a shape we do not know, or one that went."""
    try:
        return msgspec.json.decode(past.entry.row, type=kind)
    except msgspec.DecodeError:
        return None


async def _names(store: Store, past: _Past) -> dict[str, str]:
    """Return the names of the users and accounts that jobs and events speak of."""
    wanted: dict[str, type[User | Account]] = {}
    for one in past.shown():
        row = _row(one) if one.kind in (Job.kind, UserEvent.kind) else {}
        wanted |= {row[column]: kind for column, kind in _WHO.items() if row.get(column)}
    names: dict[str, str] = {}
    for id, kind in wanted.items():
        try:
            names[id] = (await store.get(kind, id)).name
        except Fault:
            names[id] = id
    return names


_WHO: dict[str, type[User | Account]] = {"user": User, "account": Account}
