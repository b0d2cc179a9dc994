"""Pools of the lab's hosts own, beside the one that they share."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.lab import joining, plan
from tests.lab.host import Host
from tests.lab.lab import IMAGE, Lab
from tests.lab.shell import kill, wait_for
from tests.system.processes import toml

STORAGE = "storage"


@contextmanager
def of_their_own(lab: Lab) -> Generator[dict[str, Host]]:
    """Another storage process on each host with guests; new disks go to the host's own pool.

    Answers the hosts by the names of their pools.
    """
    hosts = {f"{host.name}-local": host for host in lab.hosts.values() if host.plan.guests}
    for host in hosts.values():
        file = _settled(host)
        host.start(STORAGE, joining.CSNODE, "--config", file, "--roles", STORAGE)
    wait_for(lambda: hosts.keys() <= _up(lab).keys(), "every host has a pool of its own")
    ids = _up(lab)
    _enable(lab, ids[plan.POOL], False)
    try:
        yield hosts
    finally:
        _enable(lab, ids[plan.POOL], True)
        for name, host in hosts.items():
            _enable(lab, ids[name], False)
            kill(host.pid(STORAGE), signal.SIGTERM)
            wait_for(lambda host=host: not host.pid(STORAGE), "it ends")
            lab.client().deleteStoragePool(id=ids[name])


def _settled(host: Host) -> str:
    """The configuration of that process; answers its path."""
    usual = joining.file_of(host)
    file = usual.parent.with_name("csnode-storage") / usual.name
    ours = file.parent / "csnode.d" / "lab.toml"
    ours.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(usual.read_text())
    there = (usual.parent / "csnode.d" / "lab.toml").read_text().partition("[storage]")[0]
    ours.write_text(there + toml({STORAGE: {"options": {"file_roots": [str(IMAGE.parent)]}}}))
    return str(file)


def _up(lab: Lab) -> dict[str, str]:
    """The ids of pools that are Up, by name."""
    found: list[dict[str, Any]] = lab.client().listStoragePools().get("storagepool", [])
    return {p["name"]: p["id"] for p in found if p["state"] == "Up"}


def _enable(lab: Lab, pool: str, enabled: bool) -> None:
    lab.client().updateStoragePool(id=pool, enabled=enabled)
