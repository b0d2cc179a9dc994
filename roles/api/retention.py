"""History does not grow for ever: old lines go, and the oldest of too many.

Any number of apis may sweep at once: a line that is gone already is as good. With its line a
request's Idempotency-Key is forgotten (csnode.api.once).
"""

from __future__ import annotations

import asyncio
from heapq import nsmallest

from csnode.data.store import Store
from csnode.data.view import View
from csnode.log import logger
from csnode.model.event import UserEvent
from roles.api.session import delete_all

DAY_S = 86400.0
LOOK_AT = 5000  # lines in one go; a look at them takes about a millisecond
log = logger("api")


async def sweep_events(store: Store, view: View, keep_days: float, most: int, wall: float) -> int:
    """Delete what is older than that, and the oldest beyond so many; how many went."""
    events = view.all(UserEvent)
    before = wall - keep_days * DAY_S if keep_days else float("-inf")
    old: list[str] = []
    for start in range(0, len(events), LOOK_AT):
        old += [event.id for event in events[start : start + LOOK_AT] if event.created < before]
        await asyncio.sleep(0)
    if (more := len(events) - len(old) - most) > 0:
        gone = set(old)
        left = (event for event in events if event.id not in gone)
        old += [event.id for event in nsmallest(more, left, key=lambda e: (e.created, e.id))]
    await delete_all(store, UserEvent, old)
    if old:
        log.info("old events were deleted", count=len(old), left=len(events) - len(old))
    return len(old)
