"""What a test may make go wrong at a step of a saga."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any

from csnode.faults import Refused, Unavailable
from csnode.saga.engine import Engine
from csnode.saga.saga import Saga, Step


class Mishap(StrEnum):
    """Before: the step did nothing. After: it worked, but nobody heard of it."""

    REFUSED = "refused"
    ANSWER_LOST = "answer lost"
    SILENT_ONCE = "silent once"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    CRASH_IN_UNDO = "crash in undo"


class Injector:
    """An engine's hook that does one mishap at one step, once, and remembers that it did.

    A crash loses everything the engine knew of the job at that very point; it goes on from the
    job's record when the orchestrator looks next.
    """

    def __init__(self, mishap: Mishap, at: str) -> None:
        self.mishap, self.at = mishap, at
        self.done = False
        self._refused = False

    @property
    def struck(self) -> bool:
        """Whether it happened; of a crash in an undo, at least that the step was refused."""
        return self.done or self._refused

    def into(self, engine: Engine) -> None:
        """Be the hook of that engine."""
        engine.hook = self.hook

    async def hook(self, moment: str, step: Step[Any]) -> None:
        if self.mishap is Mishap.CRASH_IN_UNDO:
            await self._in_undo(moment, step)
        elif step.name == self.at and not self.done and moment == self._moment:
            self.done = True
            raise self._fault()

    @property
    def _moment(self) -> str:
        after = (Mishap.ANSWER_LOST, Mishap.CRASH_AFTER)
        return "after" if self.mishap in after else "before"

    def _fault(self) -> BaseException:
        match self.mishap:
            case Mishap.REFUSED:
                return Refused("a test said no")
            case Mishap.ANSWER_LOST:
                return Refused("the answer got lost")
            case Mishap.SILENT_ONCE:
                return Unavailable("a test kept silent")
            case _:
                return asyncio.CancelledError()

    async def _in_undo(self, moment: str, step: Step[Any]) -> None:
        """The step is refused after it worked, and the engine dies before its undo."""
        if step.name == self.at and moment == "after" and not self._refused:
            self._refused = True
            raise Refused("a test said no")
        if step.name == self.at and moment == "undo" and not self.done:
            self.done = True
            raise asyncio.CancelledError


def has_undo(saga: type[Saga[Any]], name: str) -> bool:
    """Whether anything is to be undone of that step."""
    return any(step.name == name and step.undoing is not None for step in saga.steps())


def every_step(saga: type[Saga[Any]]) -> list[str]:
    """The names of its steps, for parametrize; a new step is in the matrix at once."""
    return [step.name for step in saga.steps()]
