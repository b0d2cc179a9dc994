"""qemu-img, in a process of its own; with strangers' images also under tight limits."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import msgspec

from csnode.faults import Full, Refused
from roles.storage.drivers.qcow2 import Header

CHECK_CPU_S = 60
CONVERT_CPU_S = 1800
MEMORY_BYTES = 2 << 30
LEAKS_ONLY = 3  # exit code of `qemu-img check`: clusters that nothing uses; harmless


def tool() -> str:
    """Where qemu-img is; Refused if this machine has none."""
    found = shutil.which("qemu-img")
    if found is None or shutil.which("prlimit") is None:
        raise Refused("the dir storage driver needs qemu-img and prlimit (qemu-utils, util-linux)")
    return found


def _limited(cpu_s: int) -> tuple[str, ...]:
    return ("prlimit", f"--cpu={cpu_s}", f"--as={MEMORY_BYTES}", "--core=0")


async def _run(words: tuple[str, ...], failed: str, fine: tuple[int, ...] = (0,)) -> bytes:
    """What the tool prints. `failed` is what a caller hears; the tool's own words are logged."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    process = await asyncio.create_subprocess_exec(
        *words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=env
    )
    try:
        out, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode in fine:
        return out
    if b"No space left on device" in complaint or b"Disk quota exceeded" in complaint:
        raise Full("the storage pool has no room", detail=complaint.decode(errors="replace"))
    raise Refused(
        failed, detail=f"exit {process.returncode}: {complaint.decode(errors='replace')[:2000]}"
    )


async def create(file: Path, size: int, backing: Path | None) -> None:
    """An empty QCOW2 file, or a linked clone of a template."""
    over = ("-b", str(backing), "-F", "qcow2") if backing else ()
    words = (tool(), "create", "-q", "-f", "qcow2", *over, str(file), str(size))
    await _run(words, "the volume could not be made")


async def convert_raw(source: Path, to: Path) -> None:
    """A raw image as QCOW2; the source is taken as bytes, whatever it looks like."""
    words = (tool(), "convert", "-f", "raw", "-O", "qcow2", str(source), str(to))
    await _run((*_limited(CONVERT_CPU_S), *words), "the raw image could not be converted")


async def examine(file: Path, header: Header) -> None:
    """Compare what qemu-img finds with the header we read. Raises Refused.

    The header was checked before (qcow2.check_template): qemu-img opens this file and no other.
    """
    sick = "the QCOW2 image is damaged or cut short (qemu-img check)"
    limited = (*_limited(CHECK_CPU_S), tool())
    asking = (*limited, "info", "--output=json", "-f", "qcow2", str(file))
    info: dict[str, Any] = msgspec.json.decode(await _run(asking, sick))
    names = ("backing-filename", "full-backing-filename", "snapshots", "encrypted")
    if any(info.get(name) for name in names) or info.get("virtual-size") != header.size:
        raise Refused(sick, detail=str(info))
    # also finds tables that point past the end: a file that was cut short
    await _run((*limited, "check", "-q", "-f", "qcow2", str(file)), sick, (0, LEAKS_ONLY))
