"""The [keeper] section of csnode.toml."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import Section


class KeeperConfig(Section):
    """What the keeper of a host asks others with."""

    driver: str = "icmp"  # or sim, or a plug-in of the group csnode.drivers.prober
    options: dict[str, Any] = {}  # the driver's own
    hosts: Annotated[int, Meta(ge=1)] = 1  # how many this process plays; more than 1: simulated
