"""Leases kept by the data service: held by one at a time, with a fence that only grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from csnode.clock import now
from csnode.context import acting
from csnode.contracts.data import Commit, Data, Hold
from csnode.faults import Conflict, Fault


class Held:
    """A lease in hand. Give `fence` to whatever is done under it."""

    def __init__(self, name: str, fence: int) -> None:
        self.name, self.fence = name, fence
        self.lost = asyncio.Event()


async def _hold(data: Data, name: str, holder: str, seconds: float, fence: int) -> int:
    hold = Hold(name=name, holder=holder, seconds=seconds, fence=fence)
    with acting(trace="", caller=holder):
        return (await data.commit(Commit(changes=(hold,)))).got[0]


@asynccontextmanager
async def holding(data: Data, name: str, holder: str, seconds: float) -> AsyncGenerator[Held]:
    """Take the lease, renew it at a third of its time, give it back at the end.

    Our own deadline counts from before the request was sent, so we stop believing in the lease
    before the data service can give it to somebody else.
    """
    asked = now()
    held = Held(name, await _hold(data, name, holder, seconds, 0))
    renewing = asyncio.create_task(_renew(data, held, holder, seconds, asked))
    try:
        yield held
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        if not held.lost.is_set():
            with suppress(Fault):
                await _hold(data, name, holder, 0.0, held.fence)


async def _renew(data: Data, held: Held, holder: str, seconds: float, since: float) -> None:
    """Every third of its time; after a failure sooner, until there is but a sixth of it left."""
    pause = seconds / 3
    while True:
        await asyncio.sleep(pause)
        asked, end = now(), since + seconds * 5 / 6
        if asked >= end:
            break
        try:
            async with asyncio.timeout(min(seconds / 6, end - asked)):
                await _hold(data, held.name, holder, seconds, held.fence)
        except Conflict:
            break
        except (Fault, TimeoutError):
            pause = seconds / 24
        else:
            since, pause = asked, seconds / 3
    held.lost.set()
