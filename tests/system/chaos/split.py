"""The cloud under attack: ten processes, each role apart, two apis and two orchestrators."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

import msgspec

from tests.system.chaos.hardware import Outside, installed, looked_at
from tests.system.processes import Cloud

HOSTS = 4
LATENCY = {"compute": 0.1, "network": 0.02, "storage": 0.05}
PROCESSES = (
    "data", "api-1", "api-2", "orchestrator-1", "orchestrator-2",
    "compute", "network", "storage", "monitor", "fabric",
)  # fmt: skip


class SplitCloud(Cloud):
    """Knows its processes by name, and starts any of them again."""

    names = PROCESSES

    def __init__(self, folder: Path) -> None:
        played = {
            role: {"driver": "kept", "hosts": HOSTS, "options": {"latency_s": latency}}
            for role, latency in LATENCY.items()
        }
        super().__init__(folder, **played)
        self.environment = installed(folder)
        self.ports = {name: steady_port() for name in ("api-1", "api-2")}
        self.port = self.ports["api-1"]
        self.fallen: list[str] = []  # processes that ended by themselves, and how

    @property
    def endpoints(self) -> dict[str, str]:
        """Where each api answers."""
        return {name: f"http://127.0.0.1:{port}/client/api" for name, port in self.ports.items()}

    @staticmethod
    def role_of(name: str) -> str:
        """What the process plays."""
        return name.partition("-")[0]

    def play(self, name: str) -> None:
        """Start the process of that name, unless it runs."""
        if name in self.processes:
            return
        settings = [f"node.name=box/{name}"]
        if name in self.ports:
            settings.append(f"api.listen=127.0.0.1:{self.ports[name]}")
        self.start(self.role_of(name), name=name, settings=settings)

    def bury(self, name: str) -> None:
        """Note it if the process has ended by itself, and start it again."""
        process = self.processes.get(name)
        if process is not None and process.poll() is not None:
            self.fallen.append(f"{name} ended by itself with {process.returncode}")
            del self.processes[name]
            self.play(name)

    def heal(self) -> None:
        """Everything runs."""
        for name in self.names:
            self.bury(name)
            self.play(name)

    def outside(self) -> Outside:
        """What the simulated hosts and pools hold."""
        return looked_at(self.folder)

    def broken(self) -> dict[str, list[str]]:
        """By process, the errors it logged: what went wrong inside, whether or not it showed."""
        return {name: found for name in self.names if (found := _errors(self.log(name)))}


def steady_port() -> int:
    """A free port below those that the kernel gives to clients: no connection takes it while its
    owner is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _errors(log: str) -> list[str]:
    found: list[str] = []
    for line in log.splitlines():
        try:
            said = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            if line.startswith(("Traceback", "csnode:")):
                found.append(line)
            continue
        if said.get("level") in ("error", "critical"):
            found.append(line[:2000])
    return found
