"""Real csnode processes for tests: started with a configuration, watched, ended by pid."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from csnode.testing.patience import Patience

CSNODE = Path(sys.executable).with_name("csnode")
KEY, SECRET = "admin-key", "admin-secret"


def free_port() -> int:
    """A TCP port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def toml(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections as TOML; options become inline tables."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return "{ " + ", ".join(f"{k} = {text(v)}" for k, v in value.items()) + " }"  # type: ignore[reportUnknownVariableType]
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list | tuple):
            return "[" + ", ".join(text(v) for v in value) + "]"  # type: ignore[reportUnknownVariableType]
        return str(value) if isinstance(value, int | float) else f'"{value}"'

    return "\n".join(
        f"[{name}]\n" + "\n".join(f"{k} = {text(v)}" for k, v in section.items()) + "\n"
        for name, section in values.items()
    )


class Cloud:
    """csnode processes that share a configuration, and find each other by multicast."""

    def __init__(self, folder: Path, **sections: Mapping[str, Any]) -> None:
        self.folder = folder
        self.port = free_port()
        values: dict[str, dict[str, Any]] = {
            "node": {
                "cluster": f"test-{secrets.token_hex(4)}",
                "host": "box",
                "state": str(folder / "state"),
            },
            "directory": {
                "group": f"239.192.{secrets.randbelow(250) + 1}.{secrets.randbelow(250) + 1}",
                "port": 20000 + secrets.randbelow(20000),
            },
            "log": {"form": "json"},
            "api": {"listen": f"127.0.0.1:{self.port}"},
            "compute": {"driver": "sim"},
            "network": {"driver": "sim"},
            "storage": {"driver": "sim"},
            "fabric": {"admin_api_key": KEY, "admin_secret_key": SECRET},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        self.file = folder / "csnode.toml"
        self.file.write_text(toml(values))
        self.environment: dict[str, str] = {}  # on top of ours
        self.before: list[str] = []  # a command that runs the command, as setpriv does
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            print(f"--- {name}\n{self.log(name)[-6000:]}")  # pytest shows it if the test fails

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/client/api"

    def start(
        self, *roles: str, name: str = "", settings: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """One process with these roles; all of them if none is named. Settings as for --set."""
        name = name or "+".join(roles) or "all"
        command = [*self.before, str(CSNODE), "--config", str(self.file)]
        command += ["--roles", ",".join(roles)] if roles else []
        command += [part for setting in settings for part in ("--set", setting)]
        with (self.folder / f"{name.replace('+', '-')}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "NO_COLOR": "1", **self.environment},
            )
        self.processes[name] = process
        return process

    def log(self, name: str) -> str:
        """What the process wrote to its standard error."""
        return (self.folder / f"{name.replace('+', '-')}.log").read_text(errors="replace")

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def wait_started(self, name: str, times: int = 1, seconds: float = 60) -> None:
        """Until all roles of the process serve, after so many starts: what the api says of itself
        tells nothing of others."""
        said = '"event": "ready"'
        wait_for(lambda: self.log(name).count(said) >= times, seconds, f"{name} is ready")

    def wait_ready(self, seconds: float = 60) -> None:
        """Until the api says that it may take traffic."""

        def ready() -> bool:
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended:\n{self.log(name)[-4000:]}"
            try:
                at = f"http://127.0.0.1:{self.port}/readyz"
                with urllib.request.urlopen(at, timeout=5) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        wait_for(ready, seconds, "the cloud is ready")


def wait_for(fact: Any, seconds: float, what: str) -> Any:
    """The fact, as soon as it is true."""
    patience = Patience(seconds)
    while True:
        found = fact()
        if found:
            return found
        assert not patience.over, f"not within {patience}: {what}"
        time.sleep(0.05)


SPLIT: Sequence[tuple[str, ...]] = (
    ("api", "orchestrator"),
    ("data",),
    ("compute", "network", "storage"),
    ("monitor", "fabric"),
)
