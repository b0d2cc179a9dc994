"""The [storage] section of csnode.toml."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import NodeConfig, Section
from csnode.drivers.driver import Seat
from csnode.faults import Invalid
from csnode.uuids import id_of


class StorageConfig(Section):
    """[storage]: which pools this node serves, and by which driver."""

    driver: str = "dir"
    options: dict[str, Any] = {}  # the driver's own; [storage.options]
    name: str = ""  # the pool's; empty: HOST-local
    shared: bool = False  # other machines serve the pool of this name too, and it is the same one
    hosts: int = 1  # sim: this instance plays the local pools of that many hosts
    sweep_seconds: Annotated[float, Meta(ge=0)] = 60.0  # compared with the records; 0: never
    ghost_seconds: Annotated[float, Meta(ge=0)] = 20.0  # until what nobody knows is set aside


def seats(config: StorageConfig, node: NodeConfig) -> list[Seat]:
    """Make one seat for each host's local pool; the seat's address is the id of that host.

    Or one for the shared pool, whoever serves it, without an address: all that this machine plays
    reach it.

    The first host is the node's own; host n is called HOST-000n, as the compute role names the
    further hosts that it plays. Raises Invalid.
    """
    if config.hosts < 1:
        raise Invalid("[storage] hosts must be at least 1")
    if config.shared:
        return [_shared(config, node)]
    if config.hosts > 1 and config.driver == "dir":
        raise Invalid("[storage] hosts: a folder is the pool of one host; only sim plays more")
    return [_seat(config, node, host) for _, host in node.hosts(config.hosts)]


def _seat(config: StorageConfig, node: NodeConfig, host: str) -> Seat:
    own = host == node.host_name
    id, name = node.local_pool(host, config.name)
    return Seat(
        id=id,
        name=name,
        address=id_of(node.cluster, "host", host),
        folder=f"{node.state}/pool" if own else f"{node.state}/pool-{host}",
    )


def _shared(config: StorageConfig, node: NodeConfig) -> Seat:
    if not config.name:
        raise Invalid("[storage] name: a shared pool is known by its name, so it needs one")
    if config.driver == "dir" and not str(config.options.get("path", "")).startswith("/"):
        raise Invalid("[storage.options] path: where the shared folder is, the same on every host")
    return Seat(
        id=node.shared_pool(config.name),
        name=config.name,
        address="",
        folder=f"{node.state}/pool",
        machine=node.host_name,
    )
