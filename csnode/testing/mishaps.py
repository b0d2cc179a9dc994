"""What a test may make go wrong at a step of a saga."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from csnode.bus.bus import Bus, proxy
from csnode.bus.service import Method
from csnode.context import Context, acting, current
from csnode.data.store import Store
from csnode.faults import Fault, Refused, Unavailable
from csnode.model.job import Cancel
from csnode.saga.engine import Engine
from csnode.saga.saga import Saga, Step

ServiceT = TypeVar("ServiceT")


class Mishap(StrEnum):
    """Before: the step did nothing. After: it worked, but nobody heard of it."""

    REFUSED = "refused"
    ANSWER_LOST = "answer lost"
    LATE = "late, after the undo"
    SILENT_ONCE = "silent once"
    TWICE = "step called twice"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    CANCELLED = "cancelled"
    UNDO_TWICE = "undo called twice"
    UNDO_REFUSED = "undo refused for a while"
    CRASH_IN_UNDO = "crash in undo"


class Cut(StrEnum):
    """How a step is cut off just after an act of it."""

    REFUSED = "refused"
    SILENT = "silent"
    CRASH = "crash"
    CANCELLED = "cancelled"


READS = frozenset({"console", "describe", "feed", "find", "get", "head", "heads", "history",
                   "inspect", "power", "survey"})  # fmt: skip
"""Methods of contracts that change nothing; every other is an act."""

HARMLESS = frozenset({Mishap.SILENT_ONCE, Mishap.TWICE, Mishap.CRASH_BEFORE, Mishap.CRASH_AFTER})
"""The job is done all the same."""

IN_UNDO = frozenset({Mishap.UNDO_TWICE, Mishap.UNDO_REFUSED, Mishap.CRASH_IN_UNDO})
"""They need a step that has an undo."""

WHY = "a test said no at {}"
_listening: ContextVar[bool] = ContextVar("listening", default=False)


class Said(NamedTuple):
    """A call that a step made, with the context it travelled in."""

    method: Method
    at: str | None
    args: tuple[Any, ...]
    context: Context


class Injector:
    """An engine's hook that does one mishap at one step, once, and knows whether it did.

    A crash loses everything the engine knew of the job at that very point; it goes on from the
    job's record when the orchestrator looks next. `of` is the saga, if steps of others may be
    called the same.
    """

    def __init__(self, mishap: Mishap, at: str, of: type[Saga[Any]] | None = None) -> None:
        self.mishap, self.at, self.of = mishap, at, of
        self.said: list[Said] = []
        self._bus: Any = None
        self._plan = list(_plans(self)[mishap])

    @property
    def done(self) -> bool:
        """Whether all of it happened."""
        return not self._plan

    def into(self, engine: Engine) -> None:
        """Be the hook of that engine."""
        engine.hook = self.hook
        self._engine = engine
        if self.mishap is Mishap.LATE:
            self._bus = engine.bus
            bus: Any = _Listening(engine.bus, self)
            engine.bus = bus
            engine.store = Store(bus, engine.store.role, engine.store.node)

    async def hook(self, moment: str, step: Step[Any]) -> None:
        if step.name != self.at or (self.of is not None and step not in self.of.steps()):
            return
        _listening.set(moment == "before")
        if self._plan and self._plan[0][0] == moment:
            _, act = self._plan.pop(0)
            await act(step)

    async def replay(self) -> list[tuple[Said, Fault | None]]:
        """Say once more what the step said, as it was said; return each call and how it ended."""
        ended: list[tuple[Said, Fault | None]] = []
        for said in self.said:
            method, at, args, context = said
            asked: Any = self._bus.ask(method.contract, at)
            with acting(trace=context.trace, caller=context.caller, fence=context.fence):
                try:
                    await getattr(asked, method.attribute)(*args)
                except Fault as fault:
                    ended.append((said, fault))
                else:
                    ended.append((said, None))
        return ended

    async def heard(self, method: Method) -> None:
        """Hear that the step at work has had an answer."""

    # -- what happens ----------------------------------------------------------------------

    async def refuse(self, step: Step[Any]) -> None:
        raise Refused(WHY.format(step.name))

    async def keep_silent(self, step: Step[Any]) -> None:
        raise Unavailable(f"a test kept silent at {step.name}")

    async def crash(self, step: Step[Any]) -> None:
        raise asyncio.CancelledError(step.name)

    async def cancel(self, step: Step[Any]) -> None:
        """Cancel the job, as somebody who wants it to end while the step is at work."""
        run = next(r for r in self._engine.runs.values() if r.step is step)
        change = self._engine.store.change()
        change.create(Cancel(id=run.job.id, by="a test"))
        await change.commit()
        await asyncio.sleep(3600)
        raise AssertionError(f"step {step.name} was not interrupted")


Plan = tuple[tuple[str, Callable[[Step[Any]], Awaitable[None]]], ...]


def _plans(self: Injector) -> dict[Mishap, Plan]:
    """Return what happens at which moments of the step, in this order, for each mishap."""
    refused = ("after", self.refuse)
    return {
        Mishap.REFUSED: (("before", self.refuse),),
        Mishap.ANSWER_LOST: (refused,),
        Mishap.LATE: (refused,),
        Mishap.SILENT_ONCE: (("before", self.keep_silent),),
        Mishap.TWICE: (("after", self.keep_silent),),
        Mishap.CRASH_BEFORE: (("before", self.crash),),
        Mishap.CRASH_AFTER: (("after", self.crash),),
        Mishap.CANCELLED: (("after", self.cancel),),
        Mishap.UNDO_TWICE: (refused, ("undone", self.keep_silent)),
        Mishap.UNDO_REFUSED: (refused, *(("undo", self.keep_silent),) * 3),
        Mishap.CRASH_IN_UNDO: (refused, ("undo", self.crash), ("undone", self.crash)),
    }


class Interrupter(Injector):
    """An engine's hook that does one mishap within a step: just after the n-th act of it.

    What was asked is done, and whatever the step was to do next is not: a saga that writes a
    fact, and is cut off before it has made it true, is told from one that can be cut anywhere.
    Without a mishap it only counts.
    """

    def __init__(self, cut: Cut | None, at: str, of: type[Saga[Any]], nth: int) -> None:
        super().__init__(Mishap.LATE, at, of)
        self.cut, self.nth = cut, nth
        self.acts: dict[str, int] = {}  # how many each step did
        self._step: Step[Any] | None = None

    @property
    def done(self) -> bool:
        return self.acts.get(self.at, 0) >= self.nth

    async def hook(self, moment: str, step: Step[Any]) -> None:
        if self.of is None or step not in self.of.steps():
            return
        self._step = step
        _listening.set(moment == "before")

    def end(self) -> None:
        """End the story: what others of its saga do later is not of it."""
        self.of = None

    async def heard(self, method: Method) -> None:
        step = self._step
        if step is None or method.name.partition(".")[2] in READS:
            return
        self.acts[step.name] = self.acts.get(step.name, 0) + 1
        if step.name == self.at and self.acts[step.name] == self.nth and self.cut is not None:
            acts = {
                Cut.REFUSED: self.refuse,
                Cut.SILENT: self.keep_silent,
                Cut.CRASH: self.crash,
                Cut.CANCELLED: self.cancel,
            }
            _listening.set(False)  # what the mishap says is not the step's word
            await acts[self.cut](step)


class _Listening:
    """A bus that remembers what the step at work says."""

    def __init__(self, bus: Bus, injector: Injector) -> None:
        self._bus, self._injector = bus, injector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def ask(self, contract: type[ServiceT], at: str | None = None) -> ServiceT:
        asked = self._bus.ask(contract, at)

        async def send(method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
            if not _listening.get():
                return await getattr(asked, method.attribute)(*args)
            self._injector.said.append(Said(method, at, args, current()))
            answer = await getattr(asked, method.attribute)(*args)
            await self._injector.heard(method)
            return answer

        return proxy(contract, at, send)


def has_undo(saga: type[Saga[Any]], name: str) -> bool:
    """Tell whether anything is to be undone of that step."""
    return any(step.name == name and step.undoing is not None for step in saga.steps())


def every_step(saga: type[Saga[Any]]) -> list[str]:
    """Return the names of the saga's steps, for parametrize; a new one is in the matrix at once."""
    return [step.name for step in saga.steps()]


def mishaps_at(saga: type[Saga[Any]], name: str) -> list[Mishap]:
    """Return what can go wrong at that step."""
    return [m for m in Mishap if m not in IN_UNDO or has_undo(saga, name)]
