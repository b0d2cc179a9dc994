"""A cluster of real processes with keys: machines join, are evicted, and change their keys."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cs import CloudStack

from tests.system.processes import CSNODE, KEY, SECRET, Cloud, toml, wait_for

CONTROL = ("api", "orchestrator", "data", "monitor", "fabric")
HOST = ("compute", "network", "storage")


class Machine:
    """A machine that joins: a folder with its own state, keys and configuration."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.folder, self.name = folder, name
        self.file = folder / "csnode.toml"
        self.processes: list[subprocess.Popen[bytes]] = []

    def join(self, token: str) -> subprocess.CompletedProcess[str]:
        done = run("join", token, "--host", self.name, "--config", str(self.file),
                   "--state", str(self.folder / "state"))  # fmt: skip
        if done.returncode == 0:
            more = {role: {"driver": "sim"} for role in HOST}
            self.file.write_text(f"{self.file.read_text()}\n{toml(more)}")
        return done

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            started = subprocess.Popen(
                [str(CSNODE), "--config", str(self.file)], stdout=log, stderr=log,
                env={**os.environ, "NO_COLOR": "1"},
            )  # fmt: skip
        self.processes.append(started)
        return started

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CSNODE), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


class Cluster:
    """The first machine (a cloud without hosts), and those that join."""

    def __init__(self, folder: Path) -> None:
        self.cloud = Cloud(folder)
        self.folder = folder
        self.machines: list[Machine] = []
        said = self.csnode("cluster", "init")
        assert said.returncode == 0, said.stderr

    def csnode(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("--config", str(self.cloud.file), *arguments)

    def token(self, *more: str) -> str:
        done = self.csnode("token", "create", "--roles", ",".join(HOST), *more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def machine(self, name: str) -> Machine:
        made = Machine(self.folder / name, name)
        self.machines.append(made)
        return made

    @property
    def api(self) -> Any:
        return CloudStack(endpoint=self.cloud.url, key=KEY, secret=SECRET, timeout=30)

    def states(self) -> dict[str, str]:
        return {h["name"]: h["state"] for h in self.api.listHosts().get("host", ())}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    with made.cloud:
        try:
            made.cloud.start(*CONTROL)
            made.cloud.wait_ready()
            yield made
        finally:
            for machine in made.machines:
                machine.end()
                if machine.processes:
                    print(f"--- {machine.name}\n{(machine.folder / 'log').read_text()[-3000:]}")


def test_a_machine_joins_with_a_token_serves_and_is_evicted(cluster: Cluster) -> None:
    token = cluster.token()
    one, two = cluster.machine("hv-1"), cluster.machine("hv-2")
    done = one.join(token)
    assert done.returncode == 0, done.stderr
    one.start()
    wait_for(lambda: cluster.states().get("hv-1") == "Up", 30, "hv-1 is Up")

    again = two.join(token)
    assert again.returncode == 77
    assert "used already" in again.stderr

    listed = cluster.csnode("node", "list")
    assert re.search(r"\bhv-1\b", listed.stdout), listed
    assert "hv-1" in cluster.csnode("token", "list").stdout

    evicted = cluster.csnode("node", "evict", "hv-1")
    assert evicted.returncode == 0, evicted.stderr
    wait_for(lambda: cluster.states()["hv-1"] != "Up", 30, "hv-1 is heard no more")
    assert run("--config", str(one.file), "node", "rotate").returncode != 0


def test_an_expired_and_a_revoked_token_admit_nobody(cluster: Cluster) -> None:
    short = cluster.token("--ttl", "1s")
    machine = cluster.machine("hv-1")

    def over() -> bool:
        return "(over)" in cluster.csnode("token", "list").stdout

    wait_for(over, 20, "the token's time is over")
    assert machine.join(short).returncode == 77
    revoked = cluster.token()
    assert cluster.csnode("token", "revoke", revoked).returncode == 0
    assert machine.join(revoked).returncode != 0
    assert not machine.file.exists()


def test_the_api_answers_all_the_time_while_a_machine_changes_its_keys(cluster: Cluster) -> None:
    machine = cluster.machine("hv-1")
    assert machine.join(cluster.token()).returncode == 0
    running = machine.start()
    wait_for(lambda: cluster.states().get("hv-1") == "Up", 30, "hv-1 is Up")
    failed: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                cluster.states()
            except Exception as error:  # noqa: BLE001 (any is one too many)
                failed.append(repr(error))
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for config in (machine.file, cluster.cloud.file):
            said = run("--config", str(config), "node", "rotate")
            assert said.returncode == 0, said.stderr
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
        machine.start()
        wait_for(lambda: cluster.states()["hv-1"] == "Up", 30, "hv-1 is Up with its new keys")
    finally:
        done.set()
        asking.join()
    assert failed == []


def test_the_clusters_key_changes_while_the_cloud_runs(cluster: Cluster) -> None:
    machine = cluster.machine("hv-1")
    assert machine.join(cluster.token()).returncode == 0
    machine.start()
    wait_for(lambda: cluster.states().get("hv-1") == "Up", 30, "hv-1 is Up")
    before = (machine.folder / "state/trust/cluster.keys").read_text()

    def changed() -> bool:
        now = (machine.folder / "state/trust/cluster.keys").read_text()
        return len(now.split()) == 1 and now != before

    said = cluster.csnode("cluster", "rotate")
    assert said.returncode == 0, said.stderr
    wait_for(changed, 60, "every machine trusts only the new key")
    assert cluster.states()["hv-1"] == "Up"
