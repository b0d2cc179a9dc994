"""The [storage] section of csnode.toml."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import NodeConfig, Section
from csnode.drivers.driver import Seat
from csnode.faults import Invalid
from csnode.types import PoolId
from csnode.uuids import id_of


class StorageConfig(Section):
    """[storage]: which pools this node serves, and by which driver."""

    driver: str = "dir"
    options: dict[str, Any] = {}  # the driver's own; [storage.options]
    name: str = ""  # the pool's; empty: HOST-local
    hosts: int = 1  # sim: this instance plays the local pools of that many hosts
    sweep_seconds: Annotated[float, Meta(ge=0)] = 60.0  # compared with the records; 0: never
    ghost_seconds: Annotated[float, Meta(ge=0)] = 20.0  # until what nobody knows is set aside


def seats(config: StorageConfig, node: NodeConfig) -> list[Seat]:
    """One seat for each host's local pool; the seat's address is the id of that host.

    The first host is the node's own; host n is called HOST-000n, as the compute role names the
    further hosts that it plays. Raises Invalid.
    """
    if config.hosts < 1:
        raise Invalid("[storage] hosts must be at least 1")
    if config.hosts > 1 and config.driver == "dir":
        raise Invalid("[storage] hosts: a folder is the pool of one host; only sim plays more")
    return [_seat(config, node, host) for _, host in node.hosts(config.hosts)]


def _seat(config: StorageConfig, node: NodeConfig, host: str) -> Seat:
    own = host == node.host_name
    name = f"{host}-local"
    if config.name:
        name = config.name if own else f"{config.name}-{host.rpartition('-')[2]}"
    return Seat(
        id=PoolId(id_of(node.cluster, "pool", host, name)),
        name=name,
        address=id_of(node.cluster, "host", host),
        folder=f"{node.state}/pool" if own else f"{node.state}/pool-{host}",
    )
