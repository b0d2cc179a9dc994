"""What may be asked of the network role; always at one host."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers, within
from csnode.context import CONTROLLING
from csnode.model.machine import FoundNetwork, GuestNetwork, GuestNic, Plug
from csnode.types import NetworkId, NicId


@callers("orchestrator")
class Networking(Service, Protocol):
    """Guest networks of one host. Every verb is idempotent; see csnode.drivers.network."""

    @within(seconds=60)
    async def ensure_router(self, network: GuestNetwork) -> None:
        """Make the network's router stand on this host; answer once it serves."""
        ...

    @within(seconds=60)
    async def ensure_no_router(self, network: NetworkId) -> None:
        """Leave nothing of the network on this host."""
        ...

    @within(seconds=30)
    async def ensure_nic(self, nic: GuestNic) -> None:
        """Have the router on this host lease the address and serve the metadata."""
        ...

    @within(seconds=30)
    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        """Remove lease, name and metadata of the card."""
        ...

    @within(seconds=30)
    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        """Return what to plug the card into, on this host."""
        ...

    @within(seconds=5)
    async def outdate(self, id: NetworkId | NicId) -> None:
        """Refuse from now on orders about a network or a card given before this one."""
        ...

    @callers(*CONTROLLING)
    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        """Find every network on the host, with the cards its router knows."""
        ...

    @callers(*CONTROLLING)
    async def inspect(self) -> tuple[FoundNetwork, ...]:
        """Find everything of csnode's networks on the host, whole or not; by rising id."""
        ...
