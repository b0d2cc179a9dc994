"""haproxy in front of the apis, as an operator would have it: /readyz decides who is asked."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from csnode.testing.patience import patient
from tests.system.chaos.split import steady_port
from tests.system.processes import wait_for

HAPROXY = "/usr/sbin/haproxy"
CHECK_MS = 200  # so often /readyz is asked
WITHIN_S = {"connect_ms": 2.0, "answer_ms": 40.0, "queue_ms": 10.0, "check_within_ms": 5.0}
"""Of a machine at rest. Without a limit of its own a check has as long as lies between two."""
CONFIGURATION = """\
global
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect {connect_ms}
  timeout client {answer_ms}
  timeout server {answer_ms}
  timeout queue {queue_ms}
  timeout check {check_within_ms}
  retries 5
  option redispatch 1
  retry-on conn-failure
  option httpchk GET /readyz
  default-server check inter {check_ms} fall 1 rise 1
frontend cloud
  bind 127.0.0.1:{port}
  default_backend apis
backend apis
  balance roundrobin
{servers}
"""


class Balancer:
    """One haproxy process. It sends a request again only if it could not connect at all."""

    def __init__(self, folder: Path, apis: Mapping[str, int]) -> None:
        """`apis`: name and port of each."""
        self.port = steady_port()
        self._folder, self._socket = folder, folder / "haproxy.sock"
        self._file = folder / "haproxy.cfg"
        servers = [f"  server {name} 127.0.0.1:{port}" for name, port in apis.items()]
        self._file.write_text(
            CONFIGURATION.format(
                socket=self._socket,
                check_ms=CHECK_MS,
                port=self.port,
                servers="\n".join(servers),
                **{name: int(patient(seconds) * 1000) for name, seconds in WITHIN_S.items()},
            )
        )

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}/client/api"

    def __enter__(self) -> Self:
        with (self._folder / "haproxy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [HAPROXY, "-db", "-f", str(self._file)], stdout=log, stderr=log
            )
        wait_for(self._socket.exists, 10, "haproxy listens")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def takes(self, api: str) -> bool:
        """Whether it sends requests to that api now."""
        rows = [line.split(",") for line in self._told("show stat").splitlines()]
        return any(row[1] == api and row[17].startswith("UP") for row in rows if len(row) > 17)

    def drain(self, api: str) -> None:
        """Send it nothing new: for an api that does not linger by itself."""
        self._told(f"set server apis/{api} state drain")

    def ready(self, api: str) -> None:
        """It may be asked again, as its health allows."""
        self._told(f"set server apis/{api} state ready")

    def _told(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self._socket))
            line.sendall(command.encode() + b"\n")
            answer = b""
            while part := line.recv(65536):
                answer += part
        return answer.decode()
