"""The [network] section of csnode.toml."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import NodeConfig, Section
from csnode.drivers.driver import Seat
from csnode.faults import Invalid


class NetworkConfig(Section):
    """[network]: how this node carries guest networks."""

    driver: str = "linux"
    options: dict[str, Any] = {}  # the driver's own; [network.options]
    hosts: int = 1  # sim: this instance plays that many hosts
    sweep_seconds: Annotated[float, Meta(ge=0)] = 30.0  # compared with the records; 0: never
    ghost_seconds: Annotated[float, Meta(ge=0)] = 20.0  # until what nobody knows is removed


def seats(config: NetworkConfig, node: NodeConfig) -> list[Seat]:
    """Make one seat a host, the node's own first; host n is called HOST-000n. Raises Invalid."""
    if config.hosts < 1:
        raise Invalid("[network] hosts must be at least 1")
    if config.hosts > 1 and config.driver == "linux":
        raise Invalid("[network] hosts: a kernel is one host; only sim plays more")
    return [
        Seat(
            id=host,
            name=name,
            address=node.address or "127.0.0.1",
            folder=f"{node.state}/network/{host}",
        )
        for host, name in node.hosts(config.hosts)
    ]
