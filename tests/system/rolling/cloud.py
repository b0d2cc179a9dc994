"""The split cloud, each process of which may be of another version than its neighbours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from csnode.testing.patience import patient
from tests.system.chaos import hardware
from tests.system.chaos.split import PROCESSES, SplitCloud, steady_port
from tests.system.processes import wait_for
from tests.system.rolling.balancer import CHECK_MS

ROOT = Path(__file__).parents[3]
LINGER_S = 5 * CHECK_MS / 1000  # longer than the balancer needs to notice
LEAVE_S, READY_S = 60.0, 60.0
PATIENCE_S, SILENCE_S = 8.0, 5.0  # those of csnode, for a machine at rest


class Version:
    """A source tree that processes run from: ours, or an older one."""

    def __init__(self, name: str, root: Path | None = None) -> None:
        """`root` None: this tree, as it is installed."""
        self.name, self.root = name, root

    @property
    def lingers(self) -> bool:
        """Whether its api goes on for a while after SIGTERM, as a balancer needs it."""
        return self._has("linger_seconds", "roles/api/config.py")

    @property
    def waits(self) -> bool:
        """Whether one can say how long its api waits for a data service that is away."""
        return self._has("patience_seconds", "csnode/api/call.py")

    def _has(self, setting: str, file: str) -> bool:
        return self.root is None or setting in (self.root / file).read_text(encoding="utf-8")


OURS = Version("ours")
DATA = ("data-1", "data-2")


def played(processes: Sequence[str], shared: bool) -> tuple[str, ...]:
    """The same with two data processes in place of one, if the database is PostgreSQL."""
    both = {"data": DATA} if shared else {}
    return tuple(each for name in processes for each in both.get(name, (name,)))


def checked_out(commit: str, folder: Path) -> Version:
    """The tree of that commit, made runnable; what tests simulate in it is as in this one."""
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    _announced(folder)
    simulated = Path(hardware.__file__)
    shutil.copy(simulated, folder / simulated.relative_to(ROOT))
    return Version(commit, folder)


def _announced(root: Path) -> None:
    """Its entry points, as an installation would write them; they hide those of ours."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    package = root / f"csnode-{project['version']}.dist-info"
    package.mkdir()
    named = f"Metadata-Version: 2.1\nName: csnode\nVersion: {project['version']}\n"
    (package / "METADATA").write_text(named)
    groups = {**project["entry-points"], "console_scripts": project["scripts"]}
    lines: list[str] = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    (package / "entry_points.txt").write_text("\n".join(lines) + "\n")


class RollingCloud(SplitCloud):
    """Processes leave by SIGTERM, as an operator's or a supervisor's restart has it."""

    def __init__(self, folder: Path, version: Version = OURS, url: str = "") -> None:
        """`url`: of a PostgreSQL that two data processes share; else one keeps SQLite."""
        super().__init__(folder)
        self.names, self._url = played(PROCESSES, bool(url)), url
        self._ours = dict(self.environment)
        # A restart takes longer on a busy machine, as an operator would know.
        self._patience_s, self._silence_s = patient(PATIENCE_S), patient(SILENCE_S)
        self.health = {name: steady_port() for name in self.names if name not in self.ports}
        self.version: dict[str, Version] = dict.fromkeys(self.names, version)

    def play(self, name: str) -> None:
        if name in self.processes:
            return
        version = self.version[name]
        settings = [f"node.name=box/{name}"]
        if self.role_of(name) == "data" and self._url:
            settings.append(f"data.url={self._url}")
        if name in self.ports:
            settings.append(f"api.listen=127.0.0.1:{self.ports[name]}")
            if version.lingers:
                settings.append(f"api.linger_seconds={LINGER_S}")
        else:
            settings.append(f"health.listen=127.0.0.1:{self.health[name]}")
        self.environment = self._of(version)
        settings.append(f"monitor.silence_seconds={self._silence_s:.1f}")
        if version.waits:
            settings.append(f"api.patience_seconds={self._patience_s:.1f}")
        self.start(self.role_of(name), name=name, settings=settings)

    def _of(self, version: Version) -> dict[str, str]:
        if version.root is None:
            return self._ours
        path = f"{version.root}{os.pathsep}{self._ours['PYTHONPATH']}"
        return {**self._ours, "PYTHONPATH": path}

    def leave(self, name: str) -> int:
        """SIGTERM, and wait until it is gone; its exit code."""
        process = self.processes[name]
        process.send_signal(signal.SIGTERM)
        code = process.wait(patient(LEAVE_S))
        del self.processes[name]
        return code

    def is_ready(self, name: str) -> bool:
        """Whether the process says that it may take work."""
        process = self.processes[name]
        assert process.poll() is None, f"{name} ended:\n{self.log(name)[-4000:]}"
        port = self.ports.get(name) or self.health[name]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self, seconds: float = READY_S, names: Sequence[str] = ()) -> None:
        for name in names or self.names:
            wait_for(lambda name=name: self.is_ready(name), seconds, f"{name} is ready")
