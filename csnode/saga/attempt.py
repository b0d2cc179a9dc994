"""One attempt of a step or an undo: what it raises is a Fault, and the next waits a little."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from csnode.faults import Broken, Conflict, Fault, NotFound
from csnode.log import logger
from csnode.model.job import Tried
from csnode.saga.saga import Saga

T = TypeVar("T")
PAUSE_S, PAUSE_MAX_S = 0.5, 30.0
log = logger("saga")


class Lost(Exception):
    """Another engine has taken the job over; leave it alone from here on."""


async def as_fault(work: Awaitable[T]) -> T:
    """Make a Fault of a bug in a saga: the job ends all the same, or is stuck loudly."""
    try:
        return await work
    except Fault:
        raise
    except Exception as error:
        log.exception("a saga broke")
        raise Broken("an unexpected error", detail=repr(error)) from error


def other_place(saga: Saga[Any], step: str, fault: Fault) -> Tried | None:
    """Return the place the saga says it failed at. A saga that breaks over it ends where it is."""
    try:
        return saga.elsewhere(step, fault)
    except Exception:
        log.exception("a saga cannot say where it failed", saga=saga.job.verb, step=step)
        return None


async def object_is_gone(saga: Saga[Any]) -> bool:
    """Tell whether the job's object went before its turn came, and with it all that it held.

    The rows of its parts pin it, so they went in the same commit or before.
    """
    kind, id = saga.job.object_kind, saga.job.object_id
    if not id:
        return False
    try:
        await saga.store.data.get(kind, id)
    except NotFound:
        return True
    except Fault:  # nobody can tell
        return False
    return False


def pause(attempt: int) -> float:
    """Return seconds to wait after that many tries."""
    return min(PAUSE_S * 2.0 ** (attempt - 1), PAUSE_MAX_S)


def cancelled(by: str) -> Conflict:
    """Return why a job ends that somebody cancelled."""
    return Conflict(f"cancelled by {by or 'somebody'}")
