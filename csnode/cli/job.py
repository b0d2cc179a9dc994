"""`csnode job`: what the cloud is doing, step by step; who waits for whom; calling a job off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from csnode import clock, log
from csnode.api.progress import Lines, Place, steps_of, waits_for
from csnode.cli import joined, show
from csnode.cli.chosen import Chosen
from csnode.config import Config
from csnode.data.store import Store
from csnode.faults import Conflict, Invalid, NotFound
from csnode.model.identity import Account
from csnode.model.ids import object_name, object_parts
from csnode.model.job import CLOSED, Cancel, Job, JobState
from csnode.model.stock import Lock
from csnode.verify import stuck

OPERATOR = "an operator"
OPEN = tuple(state for state in JobState if state not in CLOSED)
UNSETTLED = (*OPEN, JobState.STUCK)
ID_LENGTH = 36
Found = dict[str, Any]
T = TypeVar("T")


@click.group("job", short_help="Jobs: what they do, who waits for whom, calling one off.")
def command() -> None:
    """Show the jobs of the cluster, cancel them, and free stuck ones.

    It listens for a second or two, as a node that starts would; then it asks the data role.
    Run it with the same configuration (cluster, directory, credential) as the nodes. A job may be
    named by the first characters of its id, as long as it is open or stuck.
    """


@command.command("list", short_help="Open and stuck jobs; all that are kept with --all.")
@click.option("--all", "whole", is_flag=True, help="Those that have ended too.")
@show.output_option()
@click.pass_obj
def list_jobs(chosen: Chosen, whole: bool, output: str) -> None:
    """List the jobs that have not ended, and those that are stuck; the oldest first.

    A stuck job keeps its objects until somebody looks at it.
    """
    rows = _ask(chosen.config(), lambda store: listed(store, whole))
    if output == "json":
        show.as_json(rows)
    elif rows:
        show.table("", tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        print("no job is kept" if whole else "no job is open, and none is stuck")


@command.command("show", short_help="One job: its steps with times, and what it waits for.")
@click.argument("job")
@show.output_option()
@click.pass_obj
def show_job(chosen: Chosen, job: str, output: str) -> None:
    """Show how far a job is.

    The steps are those it has begun. One that is undone again is shown as undone.
    """
    found = _ask(chosen.config(), lambda store: described(store, job))
    if output == "json":
        show.as_json(found)
        return
    steps: list[Found] = found.pop("steps")
    for name, value in found.items():
        if value not in ("", 0, None):
            print(f"{name + ':':<12} {value}")
    if steps:
        print()
        show.table("STEPS", tuple(steps[0]), [tuple(step.values()) for step in steps])
    else:
        print("\nno step was begun")


@command.command("cancel", short_help="Call a job off: what it did is undone.")
@click.argument("job")
@show.output_option()
@click.pass_obj
def cancel_job(chosen: Chosen, job: str, output: str) -> None:
    """Cancel a job. The step at work is interrupted, and what was done is undone.

    The job ends as failed, "cancelled by an operator". One that only waits ends at once. To
    cancel twice does no harm; a job that is being undone already goes on being undone.
    """
    _tell(_ask(chosen.config(), lambda store: cancelled(store, job)), output)


@command.command("retry", short_help="Have a stuck job's undo tried again.")
@click.argument("job")
@show.output_option()
@click.pass_obj
def retry_job(chosen: Chosen, job: str, output: str) -> None:
    """Have an orchestrator try the undo of a stuck job again.

    Mend first what `csnode job show` names. The job then ends as failed, with nothing left of
    it; if its undo is refused again, it is stuck again. To retry does no harm.
    """
    _tell(_ask(chosen.config(), lambda store: retried(store, job)), output)


@command.command("release", short_help="End a stuck job as it is: its objects are free.")
@click.argument("job")
@show.output_option()
@click.pass_obj
def release_job(chosen: Chosen, job: str, output: str) -> None:
    """End a stuck job as failed, although not all of it was undone.

    Its objects are free for other orders. What it left is given back by these (stop or destroy
    the machine) and by the sweeps; `csnode verify` names what remains. It is refused while a
    machine may run on a host that does not answer, or runs on two.
    """
    _tell(_ask(chosen.config(), lambda store: released(store, job)), output)


@command.command("queue", short_help="Who has an object, and who waits for it.")
@click.argument("object")
@show.output_option()
@click.pass_obj
def show_queue(chosen: Chosen, object: str, output: str) -> None:
    """Show the jobs that need an object, in the order in which they get it.

    OBJECT is an id, or kind and id: vm:ID, network:ID. Position 0 is at work on it or next to
    be; each of the others begins when those before it have ended.
    """
    rows = _ask(chosen.config(), lambda store: queued(store, object))
    if output == "json":
        show.as_json(rows)
    elif rows:
        show.table("", tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        print(f"nobody works on {object} or waits for it")


def _tell(found: Found, output: str) -> None:
    if output == "json":
        show.as_json(found)
    else:
        print(f"job {found['job']}: {found['said']}")


def _ask(config: Config, question: Callable[[Store], Awaitable[T]]) -> T:
    log.start("error", "text")

    async def asked() -> T:
        async with joined.joined(config) as bus:
            await joined.members(bus)
            return await question(joined.store(bus))

    return asyncio.run(asked())


# -- what the records say ---------------------------------------------------------------------


async def listed(store: Store, whole: bool = False) -> list[Found]:
    """Open and stuck jobs, or all that are kept; oldest first."""
    found = await (store.find(Job) if whole else store.find(Job, state=UNSETTLED))
    jobs = sorted(found, key=lambda job: (job.created, job.id))
    cancels = {cancel.id for cancel in await store.find(Cancel)}
    accounts = {account.id: account.name for account in await store.find(Account)}
    lines = Lines(jobs)
    return [
        {
            "job": job.id,
            "state": _state(job, job.id in cancels),
            "command": job.command or job.verb,
            "object": _object(job),
            "account": accounts.get(job.account or "", ""),
            "age": _lasted(clock.wall() - job.created),
            "at": _at(job, lines),
            "way out": f"csnode job retry {job.id}" if job.state is JobState.STUCK else "",
        }
        for job in jobs
    ]


async def described(store: Store, name: str) -> Found:
    """Describe one job and its steps. Raises Invalid if there is none of that name."""
    job = await _named(store, name)
    line = Lines(await store.find(Job, state=OPEN))
    cancel = {c.id: c for c in await store.find(Cancel)}.get(job.id)
    account = {a.id: a.name for a in await store.find(Account)}.get(job.account or "", "")
    place = Place(position=0, job=job, behind=line.behind(job) if job.open else ())
    return {
        "job": job.id,
        "state": _state(job, cancel is not None),
        "command": job.command,
        "saga": job.verb,
        "object": _object(job),
        "needs": ", ".join(job.needs),
        "account": account,
        "owner": job.owner or "",
        "waits for": waits_for(place),
        "fault": job.fault,
        "blocked by": stuck.blocked(job),
        "way out": stuck.way_out(job),
        "cancelled": f"by {cancel.by} at {clock.stamp(cancel.created)}" if cancel else "",
        "created": _stamp(job.created),
        "ended": _stamp(job.ended),
        "trace": job.trace,
        "steps": [
            {
                "step": step.name,
                "state": step.state,
                "began": _stamp(step.began),
                "took": _lasted(step.ended - step.began) if step.ended else "",
                "tries": step.tries,
            }
            for step in steps_of(job)
        ],
    }


async def cancelled(store: Store, name: str, by: str = OPERATOR) -> Found:
    """Call the job off, in an operator's name. Invalid if it has ended."""
    job = await _named(store, name)
    if job.state is JobState.STUCK:
        raise Invalid(f"job {job.id} is stuck: {stuck.blocked(job)}; {stuck.way_out(job)}")
    if not job.open:
        raise Invalid(f"job {job.id} has ended already: it is {job.state.value}")
    if job.ends_undone:
        return {"job": job.id, "said": "it is being undone already"}
    change = store.change()
    change.create(Cancel(id=job.id, by=by, created=clock.wall()))
    try:
        await change.commit()
    except Conflict:
        return {"job": job.id, "said": "somebody has cancelled it already"}
    return {"job": job.id, "said": f"is cancelled; csnode job show {job.id} tells how it ends"}


async def retried(store: Store, name: str) -> Found:
    """Have the undo of a stuck job tried again. Invalid if there is no such job."""
    job = await _named(store, name)
    await stuck.retry(store, job)
    return {"job": job.id, "said": f"is tried again; csnode job show {job.id} tells how it ends"}


async def released(store: Store, name: str) -> Found:
    """End a stuck job as it is. Invalid if there is no such job, Conflict if it is unsafe."""
    job = await _named(store, name)
    await stuck.release(store.bus, store, job)
    return {"job": job.id, "said": f"is released; csnode job show {job.id} tells how it ends"}


async def queued(store: Store, object: str) -> list[Found]:
    """Find the jobs that have the object or wait for it; a bare id may be of any kind."""
    jobs = await store.find(Job, state=OPEN)
    stuck = {job.id: job for job in await store.find(Job, state=JobState.STUCK)}
    locks = await store.find(Lock, job=tuple(stuck)) if stuck else []
    held = {lock.id: stuck[lock.job] for lock in locks}
    accounts = {account.id: account.name for account in await store.find(Account)}
    lines = Lines(jobs)
    needs = {*lines.needs(), *held}
    here = sorted(n for n in needs if object in (n, object_parts(n)[1]))
    return [
        {
            "object": need,
            "position": place.position,
            "job": place.job.id,
            "state": place.job.state.value,
            "command": place.job.command or place.job.verb,
            "account": accounts.get(place.job.account or "", ""),
            "owner": place.job.owner or "",
            "created": _stamp(place.job.created),
            "waits for": waits_for(place),
        }
        for need in here
        for place in lines.at(need, held.get(need))
    ]


async def _named(store: Store, name: str) -> Job:
    if len(name) == ID_LENGTH:
        try:
            return await store.get(Job, name)
        except NotFound:
            raise Invalid(f"there is no job {name}; it ended long ago, or never was") from None
    found = [job for job in await store.find(Job, state=UNSETTLED) if job.id.startswith(name)]
    if len(found) != 1:
        which: Sequence[str] = sorted(job.id for job in found)
        several = f"several jobs begin so: {', '.join(which)}" if found else "none does"
        raise Invalid(f"{name} must begin the id of one open or stuck job; {several}")
    return found[0]


def _state(job: Job, is_cancelled: bool) -> str:
    return f"{job.state.value}, cancelled" if is_cancelled and job.open else job.state.value


def _object(job: Job) -> str:
    return object_name(job.object_kind, job.object_id) if job.object_id else ""


def _at(job: Job, lines: Lines) -> str:
    """Return the step at work, or why there is none."""
    if not job.open:
        return job.fault
    if behind := lines.behind(job):
        return f"waits for job {behind[0].job}"
    steps = steps_of(job)
    return f"{steps[-1].name}, try {max(1, steps[-1].tries)}" if steps else "waits to be claimed"


def _stamp(seconds: float) -> str:
    return clock.stamp(seconds) if seconds else ""


def _lasted(seconds: float) -> str:
    """Say how long it took, as people do: 12 ms, 3.4 s, 5 min, 2 h, 3 d."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 72)):
        if seconds < size * most:
            return f"{seconds:.1f} s" if unit == "s" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
