"""How csnode's machines become members of the lab's cluster: as an operator does it.

The first one founds the cluster; the others join with tokens that it makes. Each host's
configuration is /etc/csnode's, in its own folder: csnode.toml as `csnode join` writes it, and
csnode.d/lab.toml, which is ours.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from csnode.trust.files import CREDENTIAL
from tests.lab import plan
from tests.lab.host import Host
from tests.lab.shell import wait_for
from tests.system.processes import toml

CSNODE = str(Path(sys.executable).with_name("csnode"))


def file_of(host: Host) -> Path:
    return host.folder / "csnode" / "csnode.toml"


def settle(host: Host, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what the operator of the host writes."""
    ours = file_of(host).parent / "csnode.d" / "lab.toml"
    ours.parent.mkdir(parents=True, exist_ok=True)
    ours.write_text(toml(sections))


def is_member(host: Host) -> bool:
    return (host.folder / "state" / "trust" / CREDENTIAL).exists()


def found(host: Host) -> None:
    """The host is the first machine of a new cluster."""
    node = {"cluster": plan.CLUSTER, "host": host.name, "state": f"{host.folder}/state"}
    file_of(host).write_text(toml({"node": node, "bus": {"listen": host.address}}))
    host.run(CSNODE, "--config", str(file_of(host)), "cluster", "init")


def join(hosts: Sequence[Host], at: Host) -> None:
    """The hosts become members, by tokens of the host named, where csnode runs already."""
    kinds = {roles_of(host) for host in hosts}
    with ThreadPoolExecutor() as pool:
        tokens = {roles: pool.submit(_token, at, roles) for roles in kinds}
        joined = [pool.submit(_join, host, tokens[roles_of(host)].result()) for host in hosts]
        for each in joined:
            each.result()


def roles_of(host: Host) -> str:
    """Every role that its processes play."""
    return ",".join(role for process in host.plan.processes for role in process.split("+"))


def _token(at: Host, roles: str) -> str:
    create = ("token", "create", "--roles", roles, "--uses", str(len(plan.HOSTS)))
    create += ("--pool", plan.POOL) if "storage" in roles else ()
    command = (CSNODE, "--config", str(file_of(at)), *create)
    return wait_for(lambda: at.run(*command, check=False).strip(), f"{at.name} makes a token")


def _join(host: Host, token: str) -> None:
    where = ("--config", str(file_of(host)), "--state", f"{host.folder}/state")
    host.run(CSNODE, "join", token, "--host", host.name, "--listen", host.address, *where)
