"""Turns: long work for callers that are not known yet, done in threads, a few pieces at once.

What waits is taken in turn: address by address, and of one address name by name. So a flood from
one address costs another address one piece, and a flood for one name costs another name at the
same address one piece. How much may wait is bounded. At the bound the longest line loses its
last, if it is longer than the newcomer's would be; else the newcomer is refused, so that many
addresses or names with one piece each cost nobody who waits his place. The refused are told so
after about a second: who asks again at once then asks once a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from csnode.api.parse import BY_SERVER
from csnode.faults import Unavailable
from csnode.uuids import source

T = TypeVar("T")
ALL_MAX = 512  # pieces that may wait, of all addresses
TOLD_S = 0.5, 1.5  # apart from each other, or all would ask again at once
Waiter = asyncio.Future[None]


class Turns:
    """The pieces of one kind of work, in one process. Made by the door; lives as long."""

    def __init__(self, what: str, threads: int, waiting_max: int) -> None:
        """Make turns; `waiting_max` bounds the pieces of one address that wait."""
        self._what, self._waiting_max = what, waiting_max
        self._threads = ThreadPoolExecutor(threads, what)
        self._free = threads
        self._lines: dict[str, dict[str, deque[Waiter]]] = {}

    async def take(self, address: str, name: str, work: Callable[[], T]) -> T:
        """Do the work in a thread, when it is its turn. Raises Unavailable (429) at the bound."""
        if self._free:
            self._free -= 1
        else:
            try:
                await self._wait(address, name)
            except Unavailable:
                await asyncio.sleep(source.uniform(*TOLD_S))
                raise
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._hand_on()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """How many pieces wait."""
        return sum(_length(lines) for lines in self._lines.values())

    async def _wait(self, address: str, name: str) -> None:
        self._make_room(address, name)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._lines.setdefault(address, {}).setdefault(name, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._hand_on()  # it had its turn, and cannot use it
            raise

    def _make_room(self, address: str, name: str) -> None:
        """Refuse the last of the longest line, if one piece more would be too many.

        Raises Unavailable if no line is longer than the newcomer's would be.
        """
        own = self._lines.get(address, {})
        if _length(own) >= self._waiting_max:
            longest = address
        elif self.waiting >= ALL_MAX:
            longest = max(self._lines, key=lambda a: _length(self._lines[a]))
            if _length(self._lines[longest]) <= _length(own) + 1:
                longest = address
        else:
            return
        if longest == address and not own:
            raise self._busy()
        lines = self._lines[longest]
        line = max(lines, key=lambda n: len(lines[n]))
        if longest == address and len(lines[line]) <= len(own.get(name, ())) + 1:
            raise self._busy()
        last = lines[line].pop()
        self._tidy(longest, line)
        if not last.done():
            last.set_exception(self._busy())

    def _busy(self) -> Unavailable:
        text = f"Too many requests for {self._what} are waiting, please try again in a second."
        return Unavailable(text, code=429, cs=BY_SERVER)

    def _hand_on(self) -> None:
        """Give a free thread to whoever is next, or keep it."""
        while self._lines:
            address = next(iter(self._lines))
            lines = self._lines.pop(address)
            name = next(iter(lines))
            line = lines.pop(name)
            waiter = line.popleft()
            if line:
                lines[name] = line  # behind the others
            if lines:
                self._lines[address] = lines
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _tidy(self, address: str, name: str) -> None:
        lines = self._lines[address]
        if not lines[name]:
            del lines[name]
        if not lines:
            del self._lines[address]


def _length(lines: dict[str, deque[Waiter]]) -> int:
    return sum(len(line) for line in lines.values())
