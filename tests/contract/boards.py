"""Management boards that others wrote: OpenIPMI's ipmi_sim, and the emulator of sushy-tools."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

USER, PASSWORD = "root", "calvin"
_PASSWORD = "$2b$04$3rJ.D8N.M9N.gq55ys0j4evFAIq4okdI.hsORUE9YWpiGkMLx4gwC"  # bcrypt
_START_S = 30.0
_SETTLED = threading.Event()  # never set: waiting on it is a pause outside every event loop
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")

_LAN = """\
name "board"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{folder}/chassis"
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_MC = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""
# The computer is a process: what has power is what runs. A zombie has no command line.
_CHASSIS = """\
#!/bin/sh
cd "{folder}" || exit 1
runs() {{ [ -n "$(tr -d '\\0' 2>/dev/null <"/proc/$(cat pid)/cmdline")" ]; }}
shift_power() {{
    if [ "$1" = 0 ]; then runs && kill -9 "$(cat pid)"; return 0; fi
    runs || {{ setsid sleep 10000 >/dev/null 2>&1 </dev/null & echo $! >pid; }}
}}
op=$2
[ "$1" = 0x20 ] && shift || op=$1
shift
case "$op" in
get) for what; do [ "$what" = power ] && if runs; then echo power:1; else echo power:0; fi; done ;;
set)
    while [ $# -gt 1 ]; do
        if [ "$1" = power ] && [ -e slow ]; then
            (sleep 3; shift_power "$2") >/dev/null 2>&1 </dev/null &
        elif [ "$1" = power ] && [ ! -e stuck ]; then
            shift_power "$2"
        fi
        shift 2
    done ;;
esac
exit 0
"""
_SUSHY = """\
SUSHY_EMULATOR_FAKE_DRIVER = True
SUSHY_EMULATOR_LISTEN_IP = "127.0.0.1"
SUSHY_EMULATOR_LISTEN_PORT = {port}
SUSHY_EMULATOR_SSL_CERT = "{folder}/cert.pem"
SUSHY_EMULATOR_SSL_KEY = "{folder}/key.pem"
SUSHY_EMULATOR_STATE_DIR = "{folder}"
SUSHY_EMULATOR_AUTH_FILE = "{folder}/users"
SUSHY_EMULATOR_DISABLE_POWER_OFF = {stuck}
SUSHY_EMULATOR_FAKE_SYSTEMS = [{{
    "uuid": "27946b59-9e44-4fa7-8e91-f3527a1ef094", "name": "box", "power_state": "On",
    "external_notifier": False, "nics": [],
}}]
"""


class IpmiBoard:
    """ipmi_sim, and the computer that it switches: a process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.process: subprocess.Popen[bytes] | None = None

    def is_on(self) -> bool:
        """Whether the computer really runs."""
        try:
            return bool(Path(f"/proc/{self._pid()}/cmdline").read_bytes())
        except OSError:
            return False

    def sticks(self) -> None:
        """From now on it says "done" to everything, and does nothing."""
        (self.folder / "stuck").touch()

    def dawdles(self) -> None:
        """From now on what it is told happens three seconds later."""
        (self.folder / "slow").touch()

    def freezes(self) -> None:
        """It answers nothing any more."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def _pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def _end(self) -> None:
        if self.is_on():
            os.kill(self._pid(), signal.SIGKILL)


@contextmanager
def ipmi_board(folder: Path) -> Generator[IpmiBoard]:
    """One whose computer is on."""
    board = IpmiBoard(folder, _free_port(socket.SOCK_DGRAM))
    filled = {"folder": folder, "port": board.port, "user": USER, "password": PASSWORD}
    (folder / "lan.conf").write_text(_LAN.format(**filled))
    (folder / "commands").write_text(_MC)
    chassis = folder / "chassis"
    chassis.write_text(_CHASSIS.format(**filled))
    chassis.chmod(0o755)
    (folder / "pid").write_text("0")
    subprocess.run([chassis, "0x20", "set", "power", "1"], check=True)
    command = (
        "ipmi_sim", "-n", "-c", str(folder / "lan.conf"), "-f", str(folder / "commands"),
        "-s", str(folder),
    )  # fmt: skip
    with _running(command, folder) as board.process:
        try:
            _until(lambda: _bound(board.port), board.process, folder)
            yield board
        finally:
            board.process.send_signal(signal.SIGCONT)
            board._end()


class RedfishBoard:
    """The emulator with its fake computer, that obeys within 1 to 11 seconds."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.fingerprint = folder, port, ""


@contextmanager
def redfish_board(folder: Path, stuck: bool = False) -> Generator[RedfishBoard]:
    """One whose computer is on; a stuck one refuses to switch it off."""
    board = RedfishBoard(folder, _free_port(socket.SOCK_STREAM))
    (folder / "conf.py").write_text(_SUSHY.format(folder=folder, port=board.port, stuck=stuck))
    (folder / "users").write_text(f"{USER}:{_PASSWORD}\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=board", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate = ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text())
    board.fingerprint = hashlib.sha256(certificate).hexdigest()
    command = (sys.executable, "-W", "ignore", "-m", "sushy_tools.emulator.main",
               "--config", str(folder / "conf.py"))  # fmt: skip
    with _running(command, folder) as process:
        _until(lambda: _answers(board.port), process, folder)
        yield board


@contextmanager
def _running(command: tuple[str, ...], folder: Path) -> Generator[subprocess.Popen[bytes]]:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            (*_DIES_WITH_US, *command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(int(_START_S / 0.05)):
        if ready():
            return
        assert process.poll() is None, (folder / "output").read_text()
        _SETTLED.wait(0.05)
    raise AssertionError((folder / "output").read_text())


def _bound(port: int) -> bool:
    """Whether somebody has the UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
