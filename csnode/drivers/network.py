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
        """Make the network stand on this host, with bridge and router.

        The router serves DHCP, DNS, source NAT and metadata.
        """

    @abstractmethod
    async def ensure_no_router(self, network: NetworkId) -> None:
        """Leave nothing of the network on this host; an absent one is fine."""

    @abstractmethod
    async def ensure_nic(self, nic: GuestNic) -> None:
        """Have the router (on this host) lease the address to the card, and serve its metadata."""

    @abstractmethod
    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        """Remove lease, name and metadata of the card; an absent one is fine."""

    @abstractmethod
    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        """Make the network's bridge stand on this host; return what to plug the card into."""

    @abstractmethod
    async def reach(self, peers: Sequence[str]) -> None:
        """Give every network of this host a way to the same ones on these hosts, by address.

        Those made later have it too; hosts not named are led to no more. Nothing else changes, and
        what leads there outlives the process. An address of a loopback leads nowhere.
        """

    @abstractmethod
    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        """Find every network of csnode's on this host, with the cards its router knows.

        A network whose router does not work (no namespace, no dnsmasq, other rules than told)
        is left out: whoever asked tells it again.
        """

    @abstractmethod
    async def inspect(self) -> tuple[FoundNetwork, ...]:
        """Find everything of csnode's networks on this host, whole or not; by rising id.

        A namespace, bridge or folder that was never told (or whose record is lost) is found too,
        as far as its network's id can be read off it.
        """
