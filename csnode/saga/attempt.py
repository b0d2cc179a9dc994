"""One attempt of a step or an undo: what it raises is a Fault, and the next one waits a little."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from csnode.faults import Broken, Fault
from csnode.log import logger

T = TypeVar("T")
PAUSE_S, PAUSE_MAX_S = 0.5, 30.0
log = logger("saga")


async def as_fault(work: Awaitable[T]) -> T:
    """A bug in a saga is a Fault like others: the job ends all the same, or is stuck loudly."""
    try:
        return await work
    except Fault:
        raise
    except Exception as error:
        log.exception("a saga broke")
        raise Broken("an unexpected error", detail=repr(error)) from error


def pause(attempt: int) -> float:
    """Seconds to wait after that many tries."""
    return min(PAUSE_S * 2.0 ** (attempt - 1), PAUSE_MAX_S)
