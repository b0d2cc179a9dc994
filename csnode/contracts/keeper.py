"""What may be asked of the keeper role; always at one host."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers


@callers("monitor", "fabric", "orchestrator")
class Keeper(Service, Protocol):
    """A small process on each hypervisor host, apart from compute: it bears witness."""

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the addresses that answer an echo request from this host, within 1 s."""
        ...
