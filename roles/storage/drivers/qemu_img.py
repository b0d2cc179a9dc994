"""qemu-img, in a process of its own and within bounds; with strangers' images as nobody."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from csnode import program
from csnode.faults import Full, Refused, Unavailable
from csnode.program import Bounds, Ended
from roles.storage.drivers.files import in_thread, told_as_fault
from roles.storage.drivers.qcow2 import Header

MEMORY_BYTES = 1 << 30
EXAMINE = Bounds(
    wall_s=180.0, output_bytes=1 << 20, cpu_s=60, memory_bytes=MEMORY_BYTES, file_bytes=1 << 20
)
CREATE = Bounds(wall_s=120.0, cpu_s=60, memory_bytes=MEMORY_BYTES, file_bytes=1 << 30)
CONVERT = Bounds(wall_s=7200.0, cpu_s=1800, memory_bytes=MEMORY_BYTES)
LEAKS_ONLY = 3  # exit code of `qemu-img check`: clusters that nothing uses; harmless
NO_MEMORY = ("annot allocate memory", "ailed to allocate", "ould not allocate")
STOPPED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # as when this machine shuts down
STANDARD_INPUT = "/dev/fd/0"
SICK = "the QCOW2 image is damaged or cut short (qemu-img check)"


class Killed(Unavailable):
    """Somebody or the kernel killed a tool: this image may be to blame, or anything else here."""


class Overrun(Refused):
    """A tool passed a bound with this image. It would do so again, whoever fetches it."""


def tool() -> str:
    """Return where qemu-img is; Refused if this machine has none."""
    found = shutil.which("qemu-img")
    if found is None:
        raise Refused("the dir storage driver needs qemu-img (qemu-utils)")
    return found


async def _run(
    words: Sequence[str],
    bounds: Bounds,
    stdin: IO[Any] | None = None,
    apart: Sequence[str] = (),
) -> Ended:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        return await program.run(words, bounds, stdin=stdin, env=env, apart=apart)
    except OSError as error:  # no memory, no process left
        raise Unavailable(f"qemu-img cannot be started: {error.strerror}") from error


def _check(ended: Ended, failed: str, fine: tuple[int, ...] = (0,)) -> bytes:
    """Return what the tool printed.

    `failed` is what a caller hears; the tool's own words are logged.
    """
    if ended.status in fine and not ended.passed:
        return ended.out
    if "No space left on device" in ended.said or "Disk quota exceeded" in ended.said:
        raise Full("the storage pool has no room", detail=ended.said[:2000])
    detail = f"exit {ended.status}: {ended.said[:2000]}"
    if ended.late:
        raise Unavailable(f"the storage pool is slow: {failed}, {ended.passed}", detail=detail)
    if ended.killed:
        raise Killed(f"qemu-img was ended before it was done: {ended.passed}", detail=detail)
    if -ended.status in STOPPED:
        raise Unavailable("qemu-img was stopped before it was done", detail=detail)
    if ended.passed or any(words in ended.said for words in NO_MEMORY):
        why = ended.passed or f"it wanted more than {MEMORY_BYTES >> 20} MiB of memory"
        raise Overrun(f"{failed}: {why}", detail=detail)
    raise Refused(failed, detail=detail)


async def create(file: Path, size: int, backing: Path | None) -> None:
    """Make an empty QCOW2 file, or a linked clone of a template."""
    over = ("-b", str(backing), "-F", "qcow2") if backing else ()
    words = (tool(), "create", "-q", "-f", "qcow2", *over, str(file), str(size))
    _check(await _run(words, CREATE), "the volume could not be made")


async def convert_raw(source: Path, to: Path, size: int) -> None:
    """Convert a raw image of that size to QCOW2; the source is bytes, whatever it looks like."""
    words = (tool(), "convert", "-f", "raw", "-O", "qcow2", str(source), str(to))
    bounds = msgspec.structs.replace(CONVERT, file_bytes=size + size // 8 + (64 << 20))
    _check(await _run(words, bounds), "the raw image could not be converted")


async def examine(file: Path, header: Header, apart: Sequence[str]) -> None:
    """Compare what qemu-img finds with the header we read. Raises Refused; Overrun if it passed a
    bound; Killed.

    The header was checked before (qcow2.check_template), and qemu-img gets this file and no other:
    as its standard input, so that it need not be able to open anything. `apart` takes its rights
    away (csnode.program).
    """
    with told_as_fault("to examine an image"):
        source = await in_thread(file.open, "rb")
    with source:
        os.fchmod(source.fileno(), 0o444)  # as it will be among the templates
        asking = (tool(), "info", "--output=json", "-f", "qcow2", STANDARD_INPUT)
        said = _check(await _run(asking, EXAMINE, source, apart), SICK)
        info: dict[str, Any] = msgspec.json.decode(said)
        names = ("backing-filename", "full-backing-filename", "snapshots", "encrypted")
        if any(info.get(name) for name in names) or info.get("virtual-size") != header.size:
            raise Refused(SICK, detail=str(info)[:2000])
        # also finds tables that point past the end: a file that was cut short
        checking = (tool(), "check", "-q", "-f", "qcow2", STANDARD_INPUT)
        _check(await _run(checking, EXAMINE, source, apart), SICK, (0, LEAKS_ONLY))
