"""A thread that does one thing after the other, and whose hanging holds up nobody else.

asyncio's own threads are few, shared, and waited for when the process ends; a file system that
hangs keeps a thread for as long as it likes.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_Work = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Hand:
    """Works in the order in which it was asked."""

    def __init__(self, name: str) -> None:
        self._asked: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], T]) -> T:
        """Do the work, and return its result; it is done also if nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._asked.put((work, done, loop))
        return await done

    def rest(self) -> None:
        """Take no more work; what was asked is done."""
        self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, done, loop = asked
            try:
                result, error = work(), None
            except Exception as caught:  # noqa: BLE001 (raised where it is awaited)
                result, error = None, caught
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                loop.call_soon_threadsafe(_settle, done, result, error)


def _settle(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
