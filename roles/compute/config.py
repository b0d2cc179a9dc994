"""The [compute] section."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import Section
from csnode.drivers.hypervisor import Hypervisor


class ComputeConfig(Section):
    """Which hypervisor runs the machines, and of how many hosts."""

    driver: str = "libvirt"  # or sim, or a plug-in of the group csnode.drivers.hypervisor
    options: dict[str, Any] = {}  # the driver's own
    hosts: Annotated[int, Meta(ge=1)] = 1  # how many this process plays; more than 1: driver sim
    address: str = ""  # of the host, as others reach it; empty: [node] address
    stop_seconds: Annotated[float, Meta(ge=0, le=240)] = 60.0  # how long a guest may shut down
    sweep_seconds: Annotated[float, Meta(ge=0)] = 15.0  # compared with the records; 0: never
    ghost_seconds: Annotated[float, Meta(ge=0)] = 20.0  # until a machine nobody knows is removed

    def __post_init__(self) -> None:
        """Refuse several hosts on libvirt.

        A libvirtd is one host, and would show each of several every other's machines.
        """
        if self.hosts > 1 and self.driver == "libvirt":
            raise ValueError("several hosts need the driver sim; libvirt is one - at `$.hosts`")

    def options_for(self, kind: type[Hypervisor]) -> dict[str, Any]:
        """Return the driver's options, with the time to stop if it has such an option."""
        knows = "stop_seconds" in kind.options_type.__struct_fields__
        return ({"stop_seconds": self.stop_seconds} if knows else {}) | self.options
