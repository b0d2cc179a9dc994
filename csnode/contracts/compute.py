"""What may be asked of the compute role; always at one host."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, within
from csnode.model.machine import Domain, FoundDomain, HostFacts
from csnode.types import Power, VmId


class Compute(Service, Protocol):
    """Machines of one host. Every verb is idempotent; see csnode.drivers.hypervisor."""

    async def describe(self) -> HostFacts:
        """What the host is and how much it has."""
        ...

    @within(seconds=300)
    async def ensure_running(self, domain: Domain) -> Power:
        """Define and start the domain; answer once it runs."""
        ...

    @within(seconds=300)
    async def ensure_off(self, vm: VmId, forced: bool) -> Power:
        """Shut the machine down; by force at once, or after the guest had its time."""
        ...

    @within(seconds=60)
    async def ensure_absent(self, vm: VmId) -> None:
        """Stop and undefine the domain; an absent one is fine."""
        ...

    @within(seconds=60)
    async def reboot(self, vm: VmId, forced: bool) -> Power:
        """Reboot a running machine."""
        ...

    async def survey(self) -> dict[VmId, Power]:
        """Every machine of csnode's found on the host."""
        ...

    async def inspect(self) -> tuple[FoundDomain, ...]:
        """Every domain of csnode's on the host, with its disks and cards; by rising id."""
        ...

    async def console(self, vm: VmId) -> bytes:
        """The last 64 KiB that the guest wrote to its serial console."""
        ...
