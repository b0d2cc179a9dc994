"""Leases as files of a pool's folder: .csnode/leases/<host id>, one sector each.

Written in place with O_DSYNC: a rename would need the folder too, and a second disk write. Every
writing and reading opens the file anew: that is when NFS asks the server (not if mounted with
nocto), and when a pool that was unmounted shows. Two threads, one to write and one to read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from csnode.drivers.driver import Seat
from csnode.drivers.leasehold import HostLease, Leasehold, Reading
from csnode.faults import Invalid, NotFound, Unavailable
from csnode.types import HostId
from roles.keeper.drivers.hand import Hand
from roles.keeper.drivers.sector import SECTOR, packed, unpacked

T = TypeVar("T")
PLACE = Path(".csnode/leases")
OTHERS_READ = 0o644
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class LeaseFiles(Leasehold):
    """The pool must be there at the first writing: its folder is never made."""

    def __init__(self, options: Mapping[str, Any], seat: Seat) -> None:
        super().__init__(options, seat)
        if not seat.folder.startswith("/"):
            raise Invalid(f"[keeper.pools] {seat.name}: {seat.folder!r} is no absolute path")
        self._folder = Path(os.path.normpath(seat.folder))
        self._device = 0  # of the file system that we know the pool by

    async def __aenter__(self) -> Self:
        self._writing, self._reading = Hand("lease-write"), Hand("lease-read")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.rest()
        self._reading.rest()

    async def write(self, lease: HostLease) -> None:
        sector = packed(lease)
        await self._told(self._writing, lambda: self._write(lease.host, sector), "written")

    async def read(self, host: HostId) -> Reading:
        if not _ID.fullmatch(host):
            raise NotFound(f"{host[:40]!r} is not the id of a host")
        mark = await self._told(self._reading, lambda: self._read(host), "read")
        return Reading(mark=mark, lease=unpacked(mark))

    def anew(self) -> None:
        self._device = 0

    def covers(self, path: str) -> bool:
        return Path(os.path.normpath(path)).is_relative_to(self._folder)

    # -- in a thread ---------------------------------------------------------------------------

    def _write(self, host: str, sector: bytes) -> None:
        self._check_mounted(self._folder.stat())
        at = self._folder / PLACE / host
        flags = os.O_WRONLY | os.O_CREAT | os.O_DSYNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(at, flags, OTHERS_READ)
        except FileNotFoundError:
            self._make_place()
            fd = os.open(at, flags, OTHERS_READ)
        try:
            self._check_mounted(os.fstat(fd))
            if os.pwrite(fd, sector, 0) != SECTOR:
                raise OSError("a sector was written in part")
        finally:
            os.close(fd)  # NFS tells of some failures only here

    def _make_place(self) -> None:
        """Make a place in the folder.

        The folder is not made: it may be where the pool is not mounted yet.
        """
        for part in (PLACE.parent, PLACE):
            with suppress(FileExistsError):
                (self._folder / part).mkdir(mode=0o755)
            fd = os.open((self._folder / part).parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _read(self, host: str) -> bytes:
        at = self._folder / PLACE / host
        try:
            fd = os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"host {host} never kept a lease on pool {self.seat.name}") from error
        try:
            self._check_mounted(os.fstat(fd))
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return os.pread(fd, SECTOR, 0)
        finally:
            os.close(fd)

    def _check_mounted(self, found: os.stat_result) -> None:
        """Raise OSError if the pool is not mounted there any more.

        What is written where it was mounted once, no other host reads.
        """
        if self._device and found.st_dev != self._device:
            raise OSError("another file system is where the pool was")
        self._device = found.st_dev

    async def _told(self, hand: Hand, work: Callable[[], T], what: str) -> T:
        try:
            return await hand.do(work)
        except OSError as error:
            raise Unavailable(
                f"pool {self.seat.name} cannot be {what}: {error.strerror or error}",
                detail=str(error),
            ) from error
