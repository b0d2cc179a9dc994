"""What the lab consists of, and what csnode stands on in it. To switch over is to change a line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from csnode.types import Struct

# or sqlite: one data process, on c1. PostgreSQL is a server on the host `engines`.
DATA = os.environ.get("LAB_DATA", "postgresql")
# or multicast. ZooKeeper is another server on `engines`.
DIRECTORY = os.environ.get("LAB_DIRECTORY", "zookeeper")
LEASE = os.environ.get("LAB_LEASE", "data")  # or zookeeper
# or local: each hypervisor host has a pool of its own. Shared: both open the same folder.
STORAGE = os.environ.get("LAB_STORAGE", "shared")
CLUSTER = "lab"
POOL = "shared"

KEY, KEY_SECRET = "lab-admin-key", "lab-admin-secret"
API_PORT = 8080
PUBLIC = "198.51.100"  # /24; the switch has .1, routers take from .10 on


class Plan(Struct):
    """One host: its place on the management network, and its csnode processes, each by roles."""

    name: str
    number: int  # the last part of its address
    processes: tuple[str, ...] = ()
    guests: bool = False  # it has a libvirtd of its own


CONTROLLER = ("data", "api+orchestrator", "monitor+fabric")
SECOND = CONTROLLER if DATA == "postgresql" else CONTROLLER[1:]  # SQLite has one data process
HOSTS = (
    Plan(name="c1", number=11, processes=CONTROLLER),
    Plan(name="c2", number=12, processes=SECOND),
    Plan(name="h1", number=21, processes=("compute+network+storage", "keeper"), guests=True),
    Plan(name="h2", number=22, processes=("compute+network+storage", "keeper"), guests=True),
)
ENGINES = Plan(name="engines", number=5)
NEEDS_ENGINES = "postgresql" in DATA or "zookeeper" in {DIRECTORY, LEASE}


def configuration(
    plan: Plan, net: str, images: str, folder: str
) -> Mapping[str, Mapping[str, Any]]:
    """What an operator sets on a host that joined; `net` is "10.1.2" of 10.1.2.0/24."""
    engines = f"{net}.{ENGINES.number}"
    sections: dict[str, dict[str, Any]] = {
        "directory": {"kind": DIRECTORY, "interface": "mgmt0"},
        "lease": {"kind": LEASE},
        "zookeeper": {"hosts": [f"{engines}:2181"]},
        "log": {"form": "json"},
    }
    if plan.guests:
        moving = {"migrate_uri": "qemu+tcp://{address}/system", "migrate_tls": False}
        storage: dict[str, Any] = {"options": {"file_roots": [images]}}
        if STORAGE == "shared":
            storage = {"shared": True, "name": POOL, "options": {
                "file_roots": [images], "path": f"{folder}/shared/pool"}}  # fmt: skip
        return sections | {
            "compute": {"options": {"kvm": "never", **moving}, "stop_seconds": 30},
            "network": {"options": {"public_bridge": "br-pub", "make_public": False}},
            "storage": storage,
        }
    if DATA == "postgresql":
        sections["data"] = {"url": f"postgresql://postgres@{engines}:5432/csnode"}
    return sections | {
        "api": {"listen": f"0.0.0.0:{API_PORT}"},
        "fabric": {
            "admin_api_key": KEY,
            "admin_secret_key": KEY_SECRET,
            "fence": "command",
            "fence_options": {"program": f"{folder}/fence/agent", "within_seconds": "20"},
            "public_cidr": f"{PUBLIC}.0/24",
            "public_gateway": f"{PUBLIC}.1",
            "public_first": f"{PUBLIC}.10",
            "public_last": f"{PUBLIC}.250",
        },
    }
