"""The way out of a stuck job: its undo is tried again, or it is ended as it is.

A stuck job's undo was refused for good, so it keeps its objects. To try again is always safe: an
undo is carried out as often as it takes. To release it leaves behind what was not undone. All of
that is named by the object's row: later orders and the sweeps give it back. Only a machine must
not be let go of while it may run where nobody can see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from csnode.bus.bus import Bus
from csnode.contracts.compute import Compute
from csnode.data.store import Store
from csnode.faults import Conflict, Fault, NotFound
from csnode.model.host import Host
from csnode.model.job import Job, JobState
from csnode.model.vm import Vm
from csnode.types import NodeId, Power

NOBODY = NodeId("nobody")
THEN = "; then undoing "  # as the engine writes it (csnode.saga.run)
RELEASED = "; released by an operator before all was undone"


def blocked(job: Job) -> str:
    """Return what blocks a stuck job; empty for any other."""
    if job.state is not JobState.STUCK:
        return ""
    if not job.started:
        return job.fault
    step = job.started[-1]
    why = job.fault.rpartition(f"{THEN}{step} failed: ")[2]
    return f"step {step} cannot be undone: {why}"


def way_out(job: Job) -> str:
    """Return what would free a stuck job; empty for any other."""
    if job.state is not JobState.STUCK:
        return ""
    return (
        f"mend that, then `csnode job retry {job.id}`; or `csnode job release {job.id}`: "
        "it ends as failed, and what was not undone is left to later orders and the sweeps"
    )


async def retry(store: Store, job: Job) -> None:
    """Have the undo tried again. Raises Conflict if the job is not stuck, or not any more."""
    _check_stuck(job)
    await _turned(store, job, fault=_cause(job))


async def release(bus: Bus, store: Store, job: Job) -> None:
    """Have the job end as failed, with nothing more undone. Raises Conflict if that is unsafe."""
    _check_stuck(job)
    if why := await unsafe(bus, store, job):
        raise Conflict(f"job {job.id} is not released: {why}")
    await _turned(store, job, fault=_cause(job) + RELEASED, started=(), results={})


async def _turned(store: Store, job: Job, **columns: Any) -> None:
    """Have its owner, or whoever takes it over from that one, go on undoing what it has begun.

    It is not tried elsewhere afterwards: whoever ordered it was told that it failed.
    """
    change = store.change()
    change.update(
        Job, job.id, revision=job.revision, state=JobState.UNWINDING, ended=0.0,
        owner=job.owner or NOBODY, again=False, **columns,
    )  # fmt: skip
    await change.commit()


async def unsafe(bus: Bus, store: Store, job: Job) -> str:
    """Return why the job's object must not be let go of now; empty if it may be."""
    if job.object_kind != Vm.kind:
        return ""
    try:
        vm = await store.get(Vm, job.object_id)
    except NotFound:
        return ""
    hosts = await store.find(Host)
    asked = [host for host in hosts if host.id in vm.may_be_on and not host.fenced]
    found = await asyncio.gather(*(_has(bus, host, vm) for host in asked))
    return _verdict(vm, zip(asked, found, strict=True))


async def _has(bus: Bus, host: Host, vm: Vm) -> Power | Fault:
    try:
        seen = await bus.ask(Compute, at=host.id).survey()
    except Fault as fault:
        return fault
    return {str(id): power for id, power in seen.items()}.get(vm.id, Power.ABSENT)


def _verdict(vm: Vm, found: Iterable[tuple[Host, Power | Fault]]) -> str:
    running: list[str] = []
    for host, seen in found:
        if isinstance(seen, Fault):
            return (
                f"machine {vm.name} may run on host {host.name}, which cannot be asked "
                f"({seen.message}); bring that host back, or declare it off, and try again"
            )
        if seen is Power.ON:
            running.append(host.name)
    if len(running) > 1:
        return (
            f"machine {vm.name} runs on {' and '.join(running)}; "
            "end all but one of them there, and try again"
        )
    return ""


def _check_stuck(job: Job) -> None:
    if job.state is not JobState.STUCK:
        hint = "; to call it off: `csnode job cancel`" if job.open else ""
        raise Conflict(f"job {job.id} is not stuck: it is {job.state.value}{hint}")


def _cause(job: Job) -> str:
    """Return why the job turned round; without what its undo met."""
    return job.fault.partition(THEN)[0]
