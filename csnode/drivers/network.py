"""The network interface: guest networks, their routers, and the cards in them, on one host.

Every verb is idempotent. A router is a projection of what it was told last: telling it again
rebuilds whatever is missing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from csnode.drivers.driver import Driver
from csnode.model.machine import FoundNetwork, GuestNetwork, GuestNic, Plug
from csnode.types import NetworkId, NicId


class NetworkDriver(Driver):
    """What every network driver can do."""

    @abstractmethod
    async def ensure_router(self, network: GuestNetwork) -> None:
        """Bridge, router, DHCP, DNS, source NAT and metadata of the network stand on this host."""

    @abstractmethod
    async def ensure_no_router(self, network: NetworkId) -> None:
        """Nothing of the network is left on this host; an absent one is fine."""

    @abstractmethod
    async def ensure_nic(self, nic: GuestNic) -> None:
        """The router (on this host) leases the address to the card, and serves its metadata."""

    @abstractmethod
    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        """Lease, name and metadata of the card are gone; an absent one is fine."""

    @abstractmethod
    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        """The network's bridge stands on this host; answers what to plug the card into."""

    @abstractmethod
    async def reach(self, peers: Sequence[str]) -> None:
        """Every network of this host has a way to the same networks on these hosts, by address.

        Those made later have it too; hosts not named are led to no more. Nothing else changes,
        and what leads there outlives the process. An address of a loopback leads nowhere.
        """

    @abstractmethod
    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        """Every network of csnode's found on this host, with the cards its router knows.

        A network whose router does not work (no namespace, no dnsmasq, other rules than told)
        is left out: whoever asked tells it again.
        """

    @abstractmethod
    async def inspect(self) -> tuple[FoundNetwork, ...]:
        """Everything of csnode's networks found on this host, whole or not; by rising id.

        A namespace, bridge or folder that was never told (or whose record is lost) is found too,
        as far as its network's id can be read off it.
        """
