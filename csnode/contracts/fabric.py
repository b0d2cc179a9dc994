"""What may be asked of the fabric role: power over hosts."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers, within
from csnode.types import HostId


@callers("orchestrator")
class Fabric(Service, Protocol):
    """Hosts as machines in racks. Every verb is idempotent; see csnode.drivers.fencer."""

    @within(seconds=120)
    async def fence(self, host: HostId) -> str:
        """Make sure that the host is off; answers how that is known.

        Raises Conflict if it is not seen as Down, and Refused or Unavailable if nobody can tell:
        then nothing of the host may be given away.
        """
        ...

    @within(seconds=60)
    async def power(self, host: HostId) -> str:
        """Return whether it is "on" or "off", as its fencer has it; "" if it cannot tell."""
        ...

    @within(seconds=60)
    async def restore(self, host: HostId) -> None:
        """Switch the host on again."""
        ...

    @callers("keeper")
    async def report(self, host: HostId, text: str) -> None:
        """Report what a keeper did to machines of its own host: an alert says so."""
        ...
