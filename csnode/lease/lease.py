"""A lease: held by one at a time, for a while, with a fence that only grows.

Which backend keeps it is a matter of how soon somebody goes on, never of what is right: whoever
acts under a lease names the revision his commit follows, and his calls carry fences.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from typing import Protocol

from csnode.clock import now
from csnode.contracts.data import Hold
from csnode.faults import Conflict, Fault

BELIEVED = 5 / 6  # of its time: so much earlier than anybody else may have it we stop
LEAST_S = 0.001  # a timer may end a moment early: without it that moment is spent spinning
TAKEOVER_S = 10.0  # a commit takes no longer
ASKED_MAX = 4  # renewals under way; of more the first is given up


class Held:
    """A lease in hand. `until` is on our own clock; every renewal moves it."""

    def __init__(self, name: str, fence: int, until: float) -> None:
        self.name, self.fence, self.until = name, fence, until
        self.lost = asyncio.Event()

    @property
    def ours(self) -> bool:
        """Whether nobody else can have it. Who was frozen knows at once, by his clock."""
        return not self.lost.is_set() and now() < self.until


class Leases(Protocol):
    """Every implementation passes csnode.testing.lease.LeaseSuite."""

    def hold(self, name: str, holder: str, seconds: float) -> AbstractAsyncContextManager[Held]:
        """Hold a lease while the block runs; it is renewed in the background.

        Raises Conflict while somebody else holds it, Unavailable if nobody can say. `Held.lost`
        is set as soon as it may not be ours. If we vanish, it is free after that many seconds.
        """
        ...

    def ended(self, name: str, by: str) -> AbstractAsyncContextManager[tuple[Hold, ...]]:
        """Keep its last holder from holding it while the block runs. Raises Conflict if he does.

        Yields what must ride in the commit that relies on it. A backend that cannot promise
        anything within a commit holds the lease itself meanwhile.
        """
        ...

    async def held(self, prefix: str) -> Collection[str]:
        """Return the names beginning so that are held now: a hint. Unavailable if nobody can say.

        The data service names none: its leases are rows of the kind `lease`, for views to follow.
        """
        ...


class Grip(Protocol):
    """One hold of one lease, as a backend does it."""

    async def take(self) -> int:
        """Take it; its fence. Conflict while somebody else holds it."""
        ...

    async def renew(self) -> None:
        """Begin its time again. Raises Conflict if it was lost."""
        ...

    async def give(self) -> None:
        """Give the lease up: it is free at once."""
        ...


@asynccontextmanager
async def holding(name: str, grip: Grip, seconds: float) -> AsyncGenerator[Held]:
    """Take the lease, renew it at a third of its time, give it back at the end.

    Our own deadline counts from before the request was sent, so we stop believing in the lease
    before it can go to somebody else.
    """
    asked = now()
    held = Held(name, await grip.take(), asked + seconds * BELIEVED)
    renewing = asyncio.create_task(_renew(held, grip, seconds))
    try:
        yield held
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        if not held.lost.is_set():
            with suppress(Fault):
                await grip.give()


async def _renew(held: Held, grip: Grip, seconds: float) -> None:
    """Renew every third of the lease's time.

    A renewal that is not answered soon is asked again beside the first, and whichever is answered
    counts: an answer that is slow has renewed the lease all the same.
    """
    asked: list[asyncio.Task[float]] = []
    pause = seconds / 3
    try:
        while now() < held.until and not held.lost.is_set():
            left = max(held.until - now(), LEAST_S)
            ready = await _first_of(asked, min(pause, left))
            asked = [task for task in asked if task not in ready]
            faults = [task.exception() for task in ready]  # all are heard, before any is judged
            if any(isinstance(fault, Conflict) for fault in faults):
                break
            if good := [task.result() for task in ready if task.exception() is None]:
                held.until = max(held.until, max(good) + seconds * BELIEVED)
                pause = max(seconds / 24, max(good) + seconds / 3 - now())
            elif ready:
                pause = seconds / 24
            elif now() < held.until:
                _cancel(asked[: 1 - ASKED_MAX])
                asked = [*asked[1 - ASKED_MAX :], asyncio.create_task(_renewed(grip))]
                pause = seconds / 6
        held.lost.set()
    finally:
        _cancel(asked)


async def _renewed(grip: Grip) -> float:
    """Return when the renewal that was answered was asked for."""
    asked = now()
    await grip.renew()
    return asked


async def _first_of(asked: list[asyncio.Task[float]], seconds: float) -> set[asyncio.Task[float]]:
    """Wait until one of them has ended, for that time at most; return those that have."""
    if not asked:
        await asyncio.sleep(seconds)
        return set()
    return (await asyncio.wait(asked, timeout=seconds, return_when="FIRST_COMPLETED"))[0]


def _cancel(asked: Iterable[asyncio.Task[float]]) -> None:
    for task in asked:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())


class Endings:
    """`Leases.ended` for backends that have no part in a commit: hold it, commit, let go.

    The former holder's lease ran out before we got it, and his next renewal fails. Should we
    sleep until ours runs out too, and he take his own again, then both of us name the revision
    of the record we follow: one commit wins, the other is Stale and changes nothing. And what he
    asked of components carries a lower fence than what we ask.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._shared: dict[tuple[str, str], _Shared] = {}

    @asynccontextmanager
    async def over(self, name: str, by: str) -> AsyncGenerator[tuple[Hold, ...]]:
        """Share one hold among who asks for the same at the same time: many jobs had one owner."""
        shared = self._shared.setdefault((name, by), _Shared())
        shared.users += 1
        try:
            async with shared.turn:
                if shared.held is None or not shared.held.ours:
                    hold = self._leases.hold(name, by, TAKEOVER_S)
                    shared.held = await shared.opened.enter_async_context(hold)
            yield ()
        finally:
            shared.users -= 1
            if not shared.users:
                self._shared.pop((name, by), None)
                await shared.opened.aclose()


class _Shared:
    def __init__(self) -> None:
        self.users = 0
        self.turn = asyncio.Lock()
        self.held: Held | None = None
        self.opened = AsyncExitStack()
