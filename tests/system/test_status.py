"""`csnode status` looks into a running cloud from outside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.system.processes import CSNODE, Cloud, wait_for
from tests.system.test_clients import client, prepared


def status(cloud: Cloud, *more: str) -> subprocess.CompletedProcess[str]:
    return run(cloud, "status", *more)


def top(cloud: Cloud) -> Any:
    """One frame."""
    return json.loads(run(cloud, "top", "--once", "--output", "json").stdout)


def run(cloud: Cloud, *more: str) -> subprocess.CompletedProcess[str]:
    command = (str(CSNODE), "--config", str(cloud.file), *more)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_nodes_hosts_and_pools_are_shown(tmp_path: Path) -> None:
    with Cloud(tmp_path, compute={"hosts": 2}, network={"hosts": 2}, storage={"hosts": 2}) as cloud:
        cloud.start("api", "orchestrator", "data")
        cloud.start("compute", "network", "storage", "monitor", "fabric")
        cloud.wait_ready()

        def seen() -> Any:
            found = json.loads(status(cloud, "--output", "json").stdout)
            return found if [h["state"] for h in found["hosts"]] == ["Up", "Up"] else None

        found = wait_for(seen, 60, "both hosts are up")
        roles = {role for node in found["nodes"] for role in node["roles"]}
        assert len(found["nodes"]) == 2
        assert roles >= {"api", "data", "compute", "fabric"}
        assert [h["host"] for h in found["hosts"]] == ["box", "box-0002"]
        assert len(found["pools"]) == 2
        table = status(cloud).stdout
        assert "NODES" in table
        assert "box-0002" in table


def test_top_shows_components_queues_hosts_and_sagas(tmp_path: Path) -> None:
    with Cloud(tmp_path, compute={"hosts": 2}, network={"hosts": 2}, storage={"hosts": 2}) as cloud:
        cloud.start("api", "data", "monitor", "fabric")
        cloud.start("compute", "network", "storage")
        cloud.start("orchestrator")
        cloud.wait_ready()
        params = prepared(client(cloud))
        assert len(top(cloud)["components"]) == 3
        cloud.kill("orchestrator")
        client(cloud).deployVirtualMachine(**params, name="waits")

        found = wait_for(lambda: f if (f := top(cloud))["sagas"] else None, 60, "the job is seen")
        assert found["trouble"] == ""
        assert {"api", "fabric"} < {role for node in found["components"] for role in node["roles"]}
        assert found["queues"][0] == {
            "orchestrator": "(none yet)", "waiting": 1, "running": 0, "unwinding": 0, "stuck": 0,
        }  # fmt: skip
        assert [(s["saga"], s["state"]) for s in found["sagas"]] == [("deploy_vm", "waiting")]
        drawn = run(cloud, "top", "--once").stdout
        for shown in ("COMPONENTS", "QUEUES", "HOSTS (2)", "SAGAS (1)", "deploy_vm"):
            assert shown in drawn

        cloud.start("orchestrator")
        done = wait_for(lambda: f if not (f := top(cloud))["sagas"] else None, 60, "it is done")
        assert sum(host["machines"] for host in done["hosts"]) == 1


def test_a_cluster_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    with Cloud(tmp_path) as cloud:
        cloud.start("data")
        wait_for(lambda: "data" in status(cloud).stdout, 60, "the node is heard")
        cloud.kill("data")
        ended = wait_for(lambda: _unheard(cloud), 60, "its silence was noticed")
        assert ended.stderr.startswith("csnode: no node of this cluster can be heard")


def _unheard(cloud: Cloud) -> subprocess.CompletedProcess[str] | None:
    ended = status(cloud)
    return ended if ended.returncode == 69 else None
