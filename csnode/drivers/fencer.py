"""The fencer interface: power over one host, and proof that it is off.

Before a machine of a silent host starts elsewhere, somebody must know that it does not run there
any more. A fencer that is not certain raises: to wait is always safe.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Protocol

from csnode.drivers.driver import Driver
from csnode.drivers.leasehold import HostLease
from csnode.types import Struct

ON, OFF = "on", "off"  # what `power` says of a host, as IPMI, Redfish and fence agents do


class LeaseSeen(Struct):
    """What the keeper of another host reads of the host's lease in a pool."""

    by: str  # that other host's name
    lease: HostLease | None = None
    still_s: float = 0.0
    why: str = ""  # why it says nothing


class PoolSeen(Struct):
    """One pool that machines of the host have disks on, and what others read there."""

    name: str
    seen: tuple[LeaseSeen, ...]


class Leased(Struct):
    """All that leases can tell of a host."""

    pools: tuple[PoolSeen, ...] = ()
    unguarded: tuple[str, ...] = ()  # machines of which no lease tells anything, and why
    trusted: bool = False  # an operator's word: its keeper never dies while its machines run


class Leases(Protocol):
    """The storage leases of the fencer's host, as others see them."""

    async def look(self) -> Leased:
        """Look how they stand just now."""
        ...


class Fencer(Driver):
    """What every fencer can do. Its seat is the host's: id, name and address."""

    secrets: ClassVar[frozenset[str]] = frozenset()  # options that are never shown
    leases: Leases | None = None  # of its host; fabric gives them

    @abstractmethod
    async def fence(self) -> str:
        """Switch the host off, and make sure of it; one that is off is left so.

        Answers how it is known, for people. Refused if it cannot be done this way, Unavailable
        if asking again may help.
        """

    @abstractmethod
    async def power(self) -> str:
        """Return whether it is ON or OFF; "" if the fencer cannot tell."""

    @abstractmethod
    async def restore(self) -> None:
        """Switch the host on; one that is on is left so. Refused if it cannot be done this way."""
