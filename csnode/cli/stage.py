"""Where the demo plays: a libvirtd and a csnode of its own, in a folder of its own.

Leaving it ends both and removes all that they made, whatever state they are in. Nothing that was
there before is touched: names of interfaces begin with letters made up for this one stage.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from csnode.cli.cluster import found_cluster
from csnode.cli.config import toml
from csnode.clock import now
from csnode.config import Config
from csnode.faults import Unavailable
from csnode.uuids import new_secret, source

CHECKOUT = Path(__file__).parents[2]
SERVE_LIBVIRTD = CHECKOUT / "config/libvirt/serve.sh"
START_S = 30.0
# Children end with us even if we are killed, and Ctrl-C is ours alone to hear.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Stage:
    """Enter it, then `start`."""

    def __init__(self, images: Path, uri: str, port: int) -> None:
        self._images = images
        self.port = port
        self.names = "d" + "".join(source.choice("0123456789abcdef") for _ in range(3))
        self.key, self.secret = new_secret(24), new_secret(32)
        self._children: list[subprocess.Popen[bytes]] = []
        self._uri = uri

    @property
    def url(self) -> str:
        """Of the CloudStack API."""
        return f"http://127.0.0.1:{self.port}/client/api"

    @property
    def file(self) -> Path:
        """The configuration of the csnode that plays here."""
        return self.folder / "csnode.toml"

    @property
    def uri(self) -> str:
        """Of the libvirtd that runs the machines."""
        return self._uri or f"qemu+unix:///system?socket={self.folder}/libvirt/run/libvirt-sock"

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="csnode-demo-"))
        self.folder.chmod(0o711)  # dnsmasq reads its files as a user of its own
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End and remove all, whatever is signalled meanwhile: nothing here waits in the loop."""
        for child in reversed(self._children):
            _end(child)
        _sweep(self.names)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start_libvirtd(self) -> None:
        """Start libvirtd unless one was named to use. Raises Unavailable with what it said."""
        if self._uri:
            return
        child = self._spawn("libvirtd", str(SERVE_LIBVIRTD), str(self.folder / "libvirt"))
        place = self.folder / "libvirt/run/libvirt-sock"
        until = now() + START_S
        while not _answers(str(place)):
            self._check(child, "libvirtd")
            if now() > until:
                raise Unavailable(f"libvirtd does not answer after {START_S:.0f} s")
            await asyncio.sleep(0.02)

    def start_csnode(self) -> None:
        """Start all roles; ask /readyz when they are open."""
        self.file.write_text(self._config())
        found_cluster(self.folder / "state/trust", Config.read(self.file, {}, {}).node)
        self._child = self._spawn("csnode", sys.executable, "-m", "csnode", "--config", self.file)

    def check_csnode(self) -> None:
        """Raise Unavailable, with csnode's last words, if csnode has ended."""
        self._check(self._child, "csnode")

    def log(self, name: str, lines: int) -> str:
        """Return the last lines that one of the two wrote."""
        try:
            return "\n".join((self.folder / f"{name}.log").read_text().splitlines()[-lines:])
        except OSError:
            return ""

    def _config(self) -> str:
        driver = {"uri": self.uri}
        values: dict[str, dict[str, Any]] = {
            "node": {"cluster": self.folder.name, "state": str(self.folder / "state")},
            "log": {"form": "json"},
            "api": {"listen": f"127.0.0.1:{self.port}"},
            "fabric": {"admin_api_key": self.key, "admin_secret_key": self.secret},
            "compute": {"driver": "libvirt", "options": driver},
            "network": {"driver": "linux", "options": {"names": self.names}},
            "storage": {"driver": "dir", "options": {"file_roots": [str(self._images)]}},
        }
        return "".join(
            f"[{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in section.items()) + "\n"
            for name, section in values.items()
        )

    def _spawn(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CSNODE_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                (*DIES_WITH_US, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def _check(self, child: subprocess.Popen[bytes], name: str) -> None:
        if child.poll() is not None:
            said = self.log(name, 1).removeprefix("csnode: ")
            raise Unavailable(f"{name} ended: {said or 'it said nothing'}")


def free_port(wish: int) -> int:
    """Return the port wished for, or another if somebody has it."""
    for port in (wish, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable("no TCP port is free on 127.0.0.1")


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as knocking:
        return knocking.connect_ex(path) == 0


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it politely, and after a while not."""
    for number, within_s in ((signal.SIGTERM, 15), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if child.poll() is not None:
            return
        child.send_signal(number)
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            continue


def _sweep(names: str) -> None:
    """Remove network namespaces, what runs in them, and interfaces whose names begin so."""
    for namespace in _found(("ip", "-j", "netns", "list"), "name", names):
        for pid in _said("ip", "netns", "pids", namespace).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        _said("ip", "netns", "delete", namespace)
    for interface in _found(("ip", "-j", "link"), "ifname", names):
        _said("ip", "link", "delete", interface)


def _found(command: tuple[str, ...], key: str, prefix: str) -> list[str]:
    rows: list[dict[str, Any]] = json.loads(_said(*command) or "[]")
    return [str(row[key]) for row in rows if str(row[key]).startswith(prefix)]


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout
