"""The [compute] section."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import Section


class ComputeConfig(Section):
    """Which hypervisor runs the machines, and of how many hosts."""

    driver: str = "libvirt"  # or sim, or a plug-in of the group csnode.drivers.hypervisor
    options: dict[str, Any] = {}  # the driver's own
    hosts: Annotated[int, Meta(ge=1)] = 1  # how many this process plays; more than 1: driver sim
    address: str = ""  # of the host; empty: the one its default route leaves from
    stop_seconds: Annotated[float, Meta(ge=0, le=240)] = 60.0  # how long a guest may shut down

    def __post_init__(self) -> None:
        """A libvirtd is one host, and would show each of several every other's machines."""
        if self.hosts > 1 and self.driver == "libvirt":
            raise ValueError("several hosts need the driver sim; libvirt is one - at `$.hosts`")
