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
        """The network's router stands on this host; answer once it serves."""
        ...

    @within(seconds=60)
    async def ensure_no_router(self, network: NetworkId) -> None:
        """Nothing of the network is left on this host."""
        ...

    @within(seconds=30)
    async def ensure_nic(self, nic: GuestNic) -> None:
        """The router on this host leases the address and serves the metadata."""
        ...

    @within(seconds=30)
    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        """Lease, name and metadata of the card are gone."""
        ...

    @within(seconds=30)
    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        """What to plug the card into, on this host."""
        ...

    @within(seconds=5)
    async def outdate(self, id: NetworkId | NicId) -> None:
        """Orders about a network or a card given before this one are refused from now on."""
        ...

    @callers(*CONTROLLING)
    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        """Every network found on the host, with the cards its router knows."""
        ...

    @callers(*CONTROLLING)
    async def inspect(self) -> tuple[FoundNetwork, ...]:
        """Everything of csnode's networks found on the host, whole or not; by rising id."""
        ...
