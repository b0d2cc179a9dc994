"""What simulated hardware does once it was asked: it goes on whether or not the asker lives.

A real libvirtd, kernel or disk shelf is another process: a verb that reached it is carried out
even if the csnode that sent it dies the next moment, and verbs for one object wait for each other
there. Simulated hardware that only did what its caller waited for would hide the worst of
crashes: the order that still happens afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Acts:
    """The acts of one simulated host or pool: for each object one at a time, each to its end."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: dict[asyncio.Task[Any], None] = {}  # in the order in which they began

    async def carry_out(self, object_id: str, seconds: float, act: Callable[[], T]) -> T:
        """Take that long, and act: all of it alone with the object, also if nobody waits any more.

        What takes no time, and has nobody before it, happens here and now.
        """
        if seconds <= 0 and object_id not in self._locks:
            return act()
        lock = self._locks.setdefault(object_id, asyncio.Lock())
        # the hardware's own task: nothing that ends its asker, or is said of it, says it of this
        task = asyncio.create_task(self._alone(lock, seconds, act), context=Context())
        self._under_way[task] = None
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def stop(self) -> None:
        """Cancel all that is under way, which never happens: the hardware has no power any more."""
        for task in tuple(self._under_way):
            task.cancel()

    async def _alone(self, lock: asyncio.Lock, seconds: float, act: Callable[[], T]) -> T:
        async with lock:
            await asyncio.sleep(seconds)
            return act()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone, and the hardware does not mind
