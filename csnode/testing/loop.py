"""Virtual time: a loop whose clock jumps to the next timer instead of waiting for it.

Code that runs in it belongs to an owner (a process of the virtual world), known by a context
variable. So a process can be put to sleep, as SIGSTOP would, and be ended, as SIGKILL would.

It relies on asyncio's private _run_once, _ready and _scheduled, here and nowhere else. What
runs on it may use no thread and no socket: whatever blocks sits behind a driver.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

from csnode import clock

T = TypeVar("T")
TURNS_MAX = 300_000  # of the loop in one moment; a busy world takes some hundreds
EPOCH = 1_750_000_000.0  # what the wall clock shows when a virtual world begins
OWNER: ContextVar[str] = ContextVar("owner", default="")  # whose code runs; "": the world's own


class _Blind(selectors.SelectSelector):
    """Nothing outside is waited for, so the system need not be asked either."""

    def select(self, timeout: float | None = None) -> list[Any]:
        del timeout
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """An hour of sleep takes no time; a wait or work that nothing can end is an error."""

    def __init__(self) -> None:
        super().__init__(_Blind())
        self._now = 0.0
        self._turns = 0  # since time last moved
        self._born = 0
        self._asleep: dict[str, list[asyncio.Handle]] = {}
        self.epoch = EPOCH
        self.skew: dict[str, float] = {}  # seconds by which an owner's wall clock is wrong
        self.drift: dict[str, float] = {}  # by which part of a second an owner's clocks run fast
        self.set_task_factory(_named)  # type: ignore[arg-type]

    @property
    def moment(self) -> float:
        """The true time, whatever anybody's clock shows."""
        return self._now

    def time(self) -> float:
        """Return what the clock of whoever asks shows."""
        return self._now * (1.0 + self.drift.get(OWNER.get(), 0.0)) if self.drift else self._now

    def wall(self) -> float:
        """Return what the wall clock of whoever asks shows."""
        return self.epoch + self.time() + (self.skew.get(OWNER.get(), 0.0) if self.skew else 0.0)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call when the clock of whoever asks shows that."""
        moment = when / (1.0 + self.drift.get(OWNER.get(), 0.0)) if self.drift else when
        return super().call_at(moment, callback, *args, context=context)

    def call_at_moment(
        self, moment: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at that true time."""
        return super().call_at(moment, callback, *args, context=context)

    def _run_once(self) -> None:
        if self._asleep:
            self._hold_back()
        if not self._ready:  # type: ignore[attr-defined]
            if not self._scheduled:  # type: ignore[attr-defined]
                raise RuntimeError("deadlock: nothing is left to happen")
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
            self._turns = 0
            if self._asleep:
                self._hold_back()
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise RuntimeError("livelock: things go on happening, and time stands still")
        super()._run_once()  # type: ignore[misc]

    # -- owners ----------------------------------------------------------------------------

    def sleep(self, owner: str) -> None:
        """Let nothing of the owner run until it is woken.

        What happens meanwhile waits for it.
        """
        self._asleep.setdefault(owner, [])

    def is_asleep(self, owner: str) -> bool:
        """Tell whether it was put to sleep."""
        return owner in self._asleep

    def wake(self, owner: str) -> None:
        """Go on where it was; the timers that passed meanwhile fire now, in their order."""
        self._ready.extend(self._asleep.pop(owner, ()))  # type: ignore[attr-defined]

    def tasks_of(self, owner: str) -> list[asyncio.Task[Any]]:
        """Return its tasks that have not ended, oldest first."""
        found = [t for t in asyncio.all_tasks(self) if _owner(t) == owner]
        return sorted(found, key=_birth)

    def forget(self, owner: str) -> None:
        """Drop whatever of the owner is still to happen."""
        later, ready = self._later, self._now_due
        for handle in (*later, *ready):
            if not handle._cancelled and _owner_of(handle) == owner:
                handle.cancel()

    @property
    def _later(self) -> list[Any]:
        timers: list[Any] = vars(self)["_scheduled"]
        return timers

    @property
    def _now_due(self) -> deque[Any]:
        due: deque[Any] = vars(self)["_ready"]
        return due

    def _hold_back(self) -> None:
        """Take what sleepers would do out of what is to be done in this turn."""
        end = self._now + self._clock_resolution  # type: ignore[attr-defined]
        later, ready = self._later, self._now_due
        while later and later[0]._when < end:
            due = heapq.heappop(later)
            due._scheduled = False
            if due._cancelled:
                self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            else:
                ready.append(due)
        for _ in range(len(ready)):
            handle = ready.popleft()
            held = None if handle._cancelled else self._asleep.get(_owner_of(handle))
            if held is None:
                ready.append(handle)
            else:
                held.append(handle)


def _owner_of(handle: Any) -> str:
    context: Context = handle._context
    return context.get(OWNER, "")


def _named(
    loop: SimLoop, work: Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    """Make a task that says when it was made, and whose it is."""
    loop._born += 1
    owner = OWNER.get() if context is None else context.get(OWNER, "")
    return asyncio.Task(work, loop=loop, name=f"{loop._born}@{owner}", context=context)


def _birth(task: asyncio.Task[Any]) -> int:
    return int(task.get_name().partition("@")[0])


def _owner(task: asyncio.Task[Any]) -> str:
    return task.get_name().partition("@")[2]


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run the work to its end in virtual time; dates come from the same clock."""
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimLoop)
        before, clock.wall_source = clock.wall_source, loop.wall
        try:
            return runner.run(work)
        finally:
            clock.wall_source = before
