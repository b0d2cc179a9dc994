"""Running the system's tools: one process a stage, its faults as Faults."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from csnode import program
from csnode.faults import Refused, Unavailable
from csnode.program import Bounds, Ended
from csnode.types import Struct

BOUNDS = Bounds(wall_s=30.0, output_bytes=64 << 20, memory_bytes=2 << 30)  # 100,000 interfaces fit
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
    """Raise Refused, naming the package, if a tool is missing or we may not use it."""
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

    Raises Refused if it says no, Unavailable if it passes a bound or cannot start.
    """
    with _starting(command):
        ended = await program.run(command, BOUNDS, text=text.encode())
    _check(command, ended)
    return ended.out.decode(errors="replace")


async def run_daemon(*command: str) -> None:
    """Run a command that goes on in the background by itself; answers once it did."""
    with _starting(command):
        ended = await program.start_daemon(command, BOUNDS)
    _check(command, ended)


async def batch(
    lines: Sequence[str], namespace: str = "", tool: str = "ip", force: bool = False
) -> None:
    """Run the lines by one `ip -batch` (or `bridge -batch`), in a namespace if named.

    With force the lines after one that fails are run too; it is Refused all the same.
    """
    options = [*(["-n", namespace] if namespace else []), *(["-force"] if force else [])]
    await run(tool, *options, "-batch", "-", text="\n".join(lines) + "\n")


async def links() -> dict[str, Link]:
    """Find every interface of the host, by name."""
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


@contextmanager
def _starting(command: Sequence[str]) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as missing:
        package = PACKAGES.get(command[0], command[0])
        raise Refused(f"{command[0]} is missing; apt-get install {package}") from missing
    except OSError as error:  # no memory, no process left
        raise Unavailable(f"{command[0]} cannot be started: {error.strerror}") from error


def _check(command: Sequence[str], ended: Ended) -> None:
    if ended.passed:
        raise Unavailable(f"{command[0]} was ended: {ended.passed}", detail=" ".join(command))
    if ended.status:
        line = next(iter(ended.said.splitlines()), f"exit code {ended.status}")
        raise Refused(
            f"{command[0]} failed: {line[:200]}", detail=f"{' '.join(command)}: {ended.said}"
        )
