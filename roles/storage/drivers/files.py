"""Files of a pool: made beside their place, flushed, and put there whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from csnode.faults import Fault, Full, Invalid, Refused, Unavailable

T = TypeVar("T")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def checked_id(id: str) -> str:
    """Return the id, fit to be a file's name; Refused if it is not an RFC 4122 id in lower case."""
    if not _ID.fullmatch(id):
        raise Refused(f"{id[:40]!r} is not the id of a volume or template")
    return id


def checked_name(machine: str) -> str:
    """Return the machine's name, fit to be part of a file's; Invalid if it is not."""
    if not _NAME.fullmatch(machine):
        raise Invalid(f"{machine[:40]!r} cannot be a machine's name")
    return machine


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run blocking file work beside the loop.

    Cancelled, it still waits for the thread to end: nothing may write to a file that its owner
    has closed and removed.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise


@contextmanager
def told_as_fault(what: str) -> Generator[None]:
    """Turn the system's errors into faults: Full without room, else Unavailable."""
    try:
        yield
    except OSError as error:
        raise fault_of(error, what) from error


def fault_of(error: OSError, what: str) -> Fault:
    """Return what a caller should hear of an error of the system."""
    if error.errno in _NO_ROOM:
        return Full(f"the storage pool has no room {what}", detail=str(error))
    return Unavailable(f"the storage pool cannot be used {what}", detail=str(error))


def place(made: Path, at: Path, mode: int) -> None:
    """Put a finished file under its name, durably; one that is there already stays."""
    with told_as_fault(f"for {at.name}"):
        fd = os.open(made, os.O_RDONLY)
        try:
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(made, at)  # unlike a rename, this never replaces what clones stand on
        made.unlink()
        sync_folder(at.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def allocated(file: Path) -> int:
    """Return the bytes that the file takes on disk; holes take none."""
    return file.stat().st_blocks * 512
