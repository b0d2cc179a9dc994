"""Running the system's tools: one process a stage, its faults as Faults."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import Any

from csnode.faults import Refused, Unavailable
from csnode.types import Struct

WITHIN_S = 30.0
PACKAGES = {  # tool: the Debian package that has it
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "nsenter": "util-linux",
}


class Link(Struct):
    """A network interface, as `ip -j addr` shows it."""

    name: str
    master: str = ""
    up: bool = False
    mtu: int = 0
    addresses: tuple[str, ...] = ()


def check_tools() -> None:
    """Raises Refused, naming the package, if a tool is missing or we may not use it."""
    missing = [tool for tool in PACKAGES if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[tool] for tool in missing}))
        raise Refused(
            f"the network driver linux needs {', '.join(missing)} in PATH: "
            f"apt-get install {packages}"
        )
    if os.geteuid() != 0:
        raise Refused("the network driver linux makes bridges and namespaces: run it as root")


async def run(*command: str, text: str = "") -> str:
    """Run to the end with the text as input; answers its output.

    Raises Refused if it says no, Unavailable if it does not end in 30 seconds or cannot start.
    """
    # no pipe without text: uvloop raises if the command has ended before the pipe is closed
    process = await _start(command, stdin=PIPE if text else DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate(text.encode() or None)
    except TimeoutError as late:
        raise Unavailable(f"{command[0]} did not end within {WITHIN_S:.0f} s") from late
    finally:
        await _end(process)
    _check(command, process, err)
    return out.decode(errors="replace")


async def run_daemon(*command: str) -> None:
    """Run a command that goes on in the background by itself; answers once it did.

    A daemon keeps what it was given as output, so it gets no pipe: we would wait for its end.
    """
    with TemporaryFile() as errors:
        process = await _start(command, stdin=DEVNULL, stdout=DEVNULL, stderr=errors)
        try:
            async with asyncio.timeout(WITHIN_S):
                await process.wait()
        except TimeoutError as late:
            raise Unavailable(f"{command[0]} did not start within {WITHIN_S:.0f} s") from late
        finally:
            await _end(process)
        errors.seek(0)
        _check(command, process, errors.read())


async def batch(
    lines: Sequence[str], namespace: str = "", tool: str = "ip", force: bool = False
) -> None:
    """Run the lines by one `ip -batch` (or `bridge -batch`), in a namespace if named.

    With force the lines after one that fails are run too; it is Refused all the same.
    """
    options = [*(["-n", namespace] if namespace else []), *(["-force"] if force else [])]
    await run(tool, *options, "-batch", "-", text="\n".join(lines) + "\n")


async def links() -> dict[str, Link]:
    """Every interface of the host, by name."""
    found: list[dict[str, Any]] = json.loads(await run("ip", "-j", "addr", "show") or "[]")
    return {
        link["ifname"]: Link(
            name=link["ifname"],
            master=link.get("master", ""),
            up="UP" in link["flags"],
            mtu=link["mtu"],
            addresses=tuple(str(each["local"]) for each in link["addr_info"] if "local" in each),
        )
        for link in found
        if "ifname" in link
    }


async def _start(command: Sequence[str], **streams: Any) -> Process:
    try:
        return await asyncio.create_subprocess_exec(*command, **streams)
    except FileNotFoundError as missing:
        package = PACKAGES.get(command[0], command[0])
        raise Refused(f"{command[0]} is missing; apt-get install {package}") from missing
    except OSError as error:  # no memory, no process left
        raise Unavailable(f"{command[0]} cannot be started: {error.strerror}") from error


async def _end(process: Process) -> None:
    """Leave no process behind when we were cancelled or it took too long."""
    if process.returncode is None:
        process.kill()
        await process.wait()


def _check(command: Sequence[str], process: Process, errors: bytes) -> None:
    if process.returncode:
        said = errors.decode(errors="replace").strip()
        line = next(iter(said.splitlines()), f"exit code {process.returncode}")
        raise Refused(f"{command[0]} failed: {line[:200]}", detail=f"{' '.join(command)}: {said}")
