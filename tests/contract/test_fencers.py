"""Every fencer passes the suite: the simulated one, an operator's program, and a Redfish board."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from csnode.drivers.driver import Seat
from csnode.drivers.fencer import Fencer
from csnode.faults import Invalid, Refused, Unavailable
from csnode.testing.fencer import FencerSuite
from roles.fabric.fencers import sim
from roles.fabric.fencers.bmc import BmcFencer
from roles.fabric.fencers.command import CommandFencer
from roles.fabric.fencers.manual import ManualFencer

SEAT = Seat(id="host-id", name="box", address="198.51.100.7", folder="")
PROGRAM = """#!/bin/sh
# a power switch in a file: $1 the file, $2 the action, $3 the name, $4 the address
[ "$3 $4" = "box 198.51.100.7" ] || exit 9
[ -e "$1.broken" ] && { echo "the switch is stuck"; exit 1; }
case "$2" in
off) echo off >"$1" ;;
on) echo on >"$1" ;;
status) [ "$(cat "$1")" = on ] || exit 2 ;;
esac
"""


RESET = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"


class TestSim(FencerSuite):
    @pytest.fixture
    def fencer(self) -> Fencer:
        sim.SimFencer.forget_outside()
        return sim.SimFencer({}, SEAT)

    def is_on(self) -> bool:
        return sim.outside(SEAT.id).on

    def break_it(self) -> None:
        sim.outside(SEAT.id).answers = False


class TestCommand(FencerSuite):
    @pytest.fixture
    def fencer(self, tmp_path: Path) -> Fencer:
        self.program, self.state = tmp_path / "switch", tmp_path / "state"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.state.write_text("on\n")
        options = {"program": str(self.program), "arguments": [str(self.state)]}
        return CommandFencer(options, SEAT)

    def is_on(self) -> bool:
        return self.state.read_text() == "on\n"

    def break_it(self) -> None:
        Path(f"{self.state}.broken").touch()

    async def test_what_the_program_says_is_told(self, fencer: Fencer) -> None:
        self.break_it()
        with pytest.raises(Unavailable, match="the switch is stuck"):
            await fencer.fence()

    async def test_a_program_that_hangs_proves_nothing_and_is_ended(self, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        hangs = tmp_path / "hangs"
        hangs.write_text(f"#!/bin/sh\necho $$ >{pid}\nexec sleep 1000\n")
        hangs.chmod(0o755)
        fencer = CommandFencer({"program": str(hangs), "within_seconds": "0.5"}, SEAT)
        with pytest.raises(Unavailable, match="did not answer"):
            await fencer.fence()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)

    async def test_a_program_that_is_not_there_is_named(self) -> None:
        with pytest.raises(Refused, match="/nonexistent/fence"):
            await CommandFencer({"program": "/nonexistent/fence"}, SEAT).fence()

    def test_a_program_must_be_given(self) -> None:
        with pytest.raises(Invalid, match="program"):
            CommandFencer({}, SEAT)


async def test_the_manual_fencer_proves_nothing_and_says_what_to_do() -> None:
    with pytest.raises(Refused, match="declareHostAsDegraded"):
        await ManualFencer({}, SEAT).fence()


# -- Redfish ---------------------------------------------------------------------------------------


class Board:
    """A small Redfish service with one computer."""

    def __init__(self) -> None:
        self.on, self.stuck, self.babbles = True, False, False
        self.logins: list[str] = []

    def answer(self, path: str) -> dict[str, Any] | None:
        if self.babbles:
            return {"Systems": 7, "Managers": None}
        match path.rstrip("/"):
            case "/redfish/v1":
                return {"Systems": {"@odata.id": "/redfish/v1/Systems"},
                        "SessionService": {"@odata.id": "/redfish/v1/SessionService"},
                        "Chassis": {"@odata.id": "/redfish/v1/Chassis"},
                        "Managers": {"@odata.id": "/redfish/v1/Managers"},
                        "UpdateService": {"@odata.id": "/redfish/v1/UpdateService"}}  # fmt: skip
            case "/redfish/v1/Systems":
                return {"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]}
            case "/redfish/v1/Systems/1":
                return {"PowerState": "On" if self.on else "Off", "Manufacturer": "csnode",
                        "Links": {"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/1"}]},
                        "Actions": {"#ComputerSystem.Reset": {"target": RESET}}}  # fmt: skip
            case "/redfish/v1/Managers":
                return {"Members": [{"@odata.id": "/redfish/v1/Managers/1"}]}
            case "/redfish/v1/Managers/1":
                return {"Id": "1"}
            case "/redfish/v1/Chassis":
                return {"Members": []}
            case _:
                return None

    def act(self, path: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/redfish/v1/SessionService/Sessions":
            self.logins.append(asked["UserName"])
            fine = (asked["UserName"], asked["Password"]) == ("root", "calvin")
            return (201 if fine else 401), {}
        if path.endswith("ComputerSystem.Reset") and not self.stuck:
            self.on = asked["ResetType"] == "On"
        return 200, {}


class BoardDoor(BaseHTTPRequestHandler):
    """HTTP, for a board."""

    protocol_version = "HTTP/1.1"

    def __init__(self, board: Board, *given: Any) -> None:
        self.board = board
        super().__init__(*given)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        found = self.board.answer(self.path)
        if self.path.rstrip("/") != "/redfish/v1" and not self._known():
            self._say(401, {})
        else:
            self._say(200 if found is not None else 404, found or {})

    def _known(self) -> bool:
        basic = b64encode(b"root:calvin").decode()
        return (
            self.headers.get("X-Auth-Token") == "token"
            or self.headers.get("Authorization") == f"Basic {basic}"
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Sessions" in self.path or self._known():
            self._say(*self.board.act(self.path, json.loads(body or b"{}")))
        else:
            self._say(401, {})

    def _say(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 201:
            self.send_header("X-Auth-Token", "token")
            self.send_header("Location", "/redfish/v1/SessionService/Sessions/1")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Of a board: the file with its key, and its fingerprint."""
    folder = tmp_path_factory.mktemp("board")
    both, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=board", "-keyout", str(key), "-out", str(both)],
        check=True, capture_output=True,
    )  # fmt: skip
    pem = both.read_text()
    both.write_text(pem + key.read_text())
    return both, hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


class TestRedfish(FencerSuite):
    @pytest.fixture
    def board(self, certificate: tuple[Path, str]) -> Iterator[Board]:
        self.made = Board()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate[0])
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(BoardDoor, self.made)) as server:
            server.daemon_threads = True
            server.block_on_close = False
            server.socket = context.wrap_socket(server.socket, server_side=True)
            self.port = server.server_address[1]
            serving = threading.Thread(target=server.serve_forever, daemon=True)
            serving.start()
            yield self.made
            server.shutdown()
            serving.join()

    @pytest.fixture
    def fencer(self, board: Board, certificate: tuple[Path, str]) -> Fencer:
        return BmcFencer(self.options(fingerprint=certificate[1]), SEAT)

    def options(self, **more: str) -> dict[str, Any]:
        return {"address": "127.0.0.1", "user": "root", "password": "calvin",
                "port": str(self.port), **more}  # fmt: skip

    def is_on(self) -> bool:
        return self.made.on

    def break_it(self) -> None:
        self.made.stuck = True

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("roles.fabric.fencers.bmc.OFF_WITHIN_S", 1.0)

    async def test_a_board_with_another_certificate_is_not_believed(self, board: Board) -> None:
        fencer = BmcFencer(self.options(fingerprint="00" * 32), SEAT)
        with pytest.raises(Refused, match="fingerprint"):
            await fencer.fence()
        assert board.on
        assert board.logins == []

    async def test_a_wrong_password_proves_nothing_and_is_not_told(
        self, board: Board, certificate: tuple[Path, str]
    ) -> None:
        options = self.options(fingerprint=certificate[1], password="hunter2")
        with pytest.raises((Refused, Unavailable)) as caught:
            await BmcFencer(options, SEAT).fence()
        assert board.on
        assert "hunter2" not in f"{caught.value.message} {caught.value.detail}"

    async def test_a_board_that_talks_nonsense_proves_nothing(self, fencer: Fencer) -> None:
        self.made.babbles = True
        with pytest.raises(Unavailable, match="cannot be used"):
            await fencer.fence()
        assert self.is_on()
