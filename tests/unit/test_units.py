"""The systemd units say what systemd understands, and what they forbid the roles do not need."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from csnode.cli import systemd
from csnode.plugins import found
from tests.system.processes import CSNODE, Cloud, wait_for

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "config/systemd"
NAMES = sorted(p.name[len("csnode@") : -len(".service.d")] for p in UNITS.glob("csnode@*.d"))
PROFILES = sorted((ROOT / "config/profiles").glob("*.toml"))
EXPOSED = {"all": 72, "controller": 20, "data": 20, "hypervisor": 72, "keeper": 23}  # tenths


def settings(name: str, key: str) -> list[str]:
    """The words of a setting as the unit csnode@name has it."""
    said = ""
    for file in (UNITS / "csnode@.service", UNITS / f"csnode@{name}.service.d/roles.conf"):
        for line in file.read_text().splitlines():
            if line.startswith(f"{key}="):
                said = line.removeprefix(f"{key}=")
    return said.split()


def limited(name: str) -> list[str]:
    """A command prefix: root, with no capability but those that the unit leaves."""
    kept = [c.lower().replace("cap_", "+") for c in settings(name, "CapabilityBoundingSet")]
    return ["setpriv", "--bounding-set", ",".join(["-all", *kept]), "--inh-caps", "-all"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root folder with the units, and stand-ins for the programs they start."""
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(UNITS, units)
    for program in ("opt/csnode/bin/csnode", "bin/chown", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", tmp_path / program)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_each_unit(installed: Path, name: str) -> None:
    command = ("systemd-analyze", "verify", f"--root={installed}", "--man=no",
               "--recursive-errors=no", f"csnode@{name}.service")  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_each_unit_stays_as_closed_as_it_is(installed: Path, name: str) -> None:
    command = ("systemd-analyze", "security", "--offline=true", f"--root={installed}",
               f"--threshold={EXPOSED[name]}", f"csnode@{name}.service")  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_role_is_played_by_a_unit() -> None:
    played: list[str] = []
    for name in NAMES:
        for setting in settings(name, "Environment"):
            key, _, value = setting.partition("=")
            played += value.split(",") if key == "CSNODE_NODE_ROLES" else []
    assert set(played) == set(found("roles"))


@pytest.mark.parametrize("name", ["controller", "data"])
def test_who_touches_no_hardware_is_not_root(name: str) -> None:
    assert settings(name, "User") == ["csnode"]
    assert set(settings(name, "CapabilityBoundingSet")) <= {"CAP_NET_RAW"}


@pytest.mark.parametrize("name", ["all", "hypervisor"])
def test_who_makes_network_namespaces_has_no_mounts_of_its_own(name: str) -> None:
    for key in ("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices",
                "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs",
                "ProtectControlGroups"):  # fmt: skip
        assert settings(name, key) == ["no"], key


@pytest.mark.real
def test_the_network_is_made_with_the_capabilities_of_the_unit() -> None:
    command = [*limited("hypervisor"), sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
               "tests/contract/test_network_drivers.py", "-k", "TestLinux"]  # fmt: skip
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-4000:]
    assert " passed" in said.stdout


@pytest.mark.real
def test_images_are_examined_as_nobody_with_the_capabilities_of_the_unit() -> None:
    code = "import asyncio; from csnode.program import *; print(*asyncio.run(way_apart()))"
    command = [*limited("hypervisor"), sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("unshare --net ")
    assert "--reuid=65534" in said.stdout
    assert "net" in settings("hypervisor", "RestrictNamespaces")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.stem)
def test_each_profile_passes_csnode_check(profile: Path, tmp_path: Path) -> None:
    """With this machine's own interface and free ports; machines are simulated."""
    values = {
        "node.state": tmp_path,
        "directory.interface": "lo",
        "api.listen": "127.0.0.1:0",
        "health.listen": "127.0.0.1:0",
        "compute.driver": "sim",
        "network.driver": "sim",
        "network.options": "{}",
        "storage.driver": "sim",
    }
    command = [str(CSNODE), "--config", str(profile)]
    command += [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    said = subprocess.run([*command, "check"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, ""), said.stdout


# -- what systemd and the node tell each other ------------------------------------------------


class Ready:
    ready = True

    def troubles(self) -> dict[str, list[str]]:
        return {}

    def warnings(self) -> dict[str, list[str]]:
        return {}


async def test_a_loop_that_hangs_feeds_no_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(str(tmp_path / "notify"))
        hearing.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "40000")
        telling = asyncio.ensure_future(systemd.keep_told(Ready()))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            assert await loop.sock_recv(hearing, 100) == b"READY=1"
            assert await loop.sock_recv(hearing, 100) == b"WATCHDOG=1"
        hearing.settimeout(0.5)  # ten times as long as a turn: this blocks the loop
        with pytest.raises(TimeoutError):
            hearing.recv(100)
        hearing.setblocking(False)
        async with asyncio.timeout(10):
            assert await loop.sock_recv(hearing, 100) == b"WATCHDOG=1"
        telling.cancel()


@pytest.mark.real
def test_a_node_feeds_its_watchdog_reads_log_again_and_says_that_it_leaves(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(str(tmp_path / "notify"))
        hearing.settimeout(60)
        with Cloud(tmp_path) as cloud:
            cloud.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
            cloud.environment["WATCHDOG_USEC"] = "200000"
            process = cloud.start("data")
            assert [hearing.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]

            cloud.file.write_text(cloud.file.read_text().replace("[log]", '[log]\nlevel = "no"'))
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "the old one counts" in cloud.log("data"), 30, "a mistake is told of")
            cloud.file.write_text(cloud.file.read_text().replace('"no"', '"debug"'))
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "was read again" in cloud.log("data"), 30, "the level is taken over")
            assert process.poll() is None

            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            hearing.settimeout(1)
            last = b""
            while last != b"STOPPING=1":
                last = hearing.recv(100)


@pytest.mark.real
@pytest.mark.real
def test_the_management_side_runs_without_any_capability(tmp_path: Path) -> None:
    with Cloud(tmp_path) as cloud:
        cloud.before = [*limited("data"), "--no-new-privs"]
        cloud.start("data")
        cloud.start("api", "orchestrator")
        cloud.before = [*limited("controller"), "--no-new-privs"]
        cloud.start("monitor", "fabric")
        cloud.wait_ready()
        status = Path(f"/proc/{cloud.processes['data'].pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
