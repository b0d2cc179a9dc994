"""A disk of a virtual world: what was not synced when its process ended is lost.

The data role keeps a database on it if [data] path is "sim:NAME". SQLite's own recovery after a
torn write is SQLite's business; this disk is about what the data service says to whom and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from csnode import uuids
from csnode.faults import Refused, Unavailable

SYNC_S = (0.0003, 0.004)
NO_MORE, NO_LIMIT = 1, 0xFFFFFFFE  # pages; SQLite takes the first for "not one more than now"


class SimDisk:
    """Holds one database; one process at a time has it open."""

    def __init__(self) -> None:
        self.image: bytes | None = None  # what a new disk begins with: a database, serialized
        self.connection: Any = None  # the database, whoever opened it
        self.stall_s = 0.0  # how much longer a sync takes just now
        self.full = False  # SQLite finds no room for one page more
        self.syncs = 0
        self._limit = NO_LIMIT
        self._opened: Opened | None = None

    def open(self) -> Opened:
        """Open the disk. Raises Refused while another process has it."""
        if self._opened is not None and self._opened.alive:
            raise Refused("another csnode process uses this disk")
        self._opened = Opened(self)
        return self._opened

    def limit(self) -> None:
        """Have SQLite itself find out whether there is room: amid a write, if it comes to that."""
        limit = NO_MORE if self.full else NO_LIMIT
        if limit != self._limit and self.connection is not None:
            self.connection.execute(f"PRAGMA max_page_count={limit}")
            self._limit = limit

    def cut(self) -> None:
        """Cut off the process that had it open, and ended: what it still tries does not get in."""
        if self._opened is not None:
            self._opened.alive = False


class Opened:
    """The disk, as one process has it."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.alive = True

    async def write(self, act: Callable[[], None]) -> None:
        """Do it, and answer once it is safe; raises Unavailable if it cannot be.

        The bytes are safe some time before whoever waits can know it: a process that ends in
        between has written what it never acknowledged.
        """
        disk = self.disk
        took = uuids.source.uniform(*SYNC_S) + disk.stall_s
        before = took * uuids.source.random()
        await asyncio.sleep(before)
        self._check()
        disk.limit()
        act()
        disk.syncs += 1
        await asyncio.sleep(took - before)
        self._check()

    def close(self) -> None:
        self.alive = False

    def _check(self) -> None:
        if not self.alive:
            raise Unavailable("this process has ended")


_disks: dict[str, SimDisk] = {}


def disk_of(name: str) -> SimDisk:
    """Return the disk of that name; made when first asked for."""
    return _disks.setdefault(name, SimDisk())


def forget(name: str) -> None:
    """Destroy the disk, with what it held."""
    _disks.pop(name, None)
