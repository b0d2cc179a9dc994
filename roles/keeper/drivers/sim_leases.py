"""Simulated leases: what a pool holds of them, and which hosts are cut off from it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import msgspec

from csnode.drivers.driver import Simulated
from csnode.drivers.leasehold import HostLease, Leasehold, Reading
from csnode.faults import NotFound, Unavailable
from csnode.types import HostId, Struct


class SimShelf:
    """The leases in one pool, and the hosts that are cut off from it just now."""

    def __init__(self) -> None:
        self.leases: dict[str, HostLease] = {}
        self.failing: set[str] = set()  # hosts for which it fails
        self._hanging: dict[str, asyncio.Event] = {}  # hosts for which it hangs

    def hang(self, host: str) -> None:
        """Make wait what the host asks of it; it is done when the host is mended."""
        self._hanging.setdefault(host, asyncio.Event())

    def mend(self, host: str) -> None:
        """Let the host reach it again."""
        self.failing.discard(host)
        if hanging := self._hanging.pop(host, None):
            hanging.set()

    def cuts(self, host: str) -> bool:
        """Tell whether the host is cut off."""
        return host in self.failing or host in self._hanging

    async def reached(self, host: str) -> None:
        """Wait until the host reaches it. Raises Unavailable if it fails."""
        while hanging := self._hanging.get(host):
            await hanging.wait()
        if host in self.failing:
            raise Unavailable("the simulated pool is out of reach")


_shelves: dict[str, SimShelf] = {}


class LeaseOptions(Struct, forbid_unknown_fields=True):
    """How slow the simulated pool is."""

    latency_s: float = 0.0


class SimLeasehold(Leasehold, Simulated):
    """The leases of the simulated pool whose id is the seat's."""

    options_type: ClassVar[type[Struct]] = LeaseOptions
    options: LeaseOptions

    @classmethod
    def forget_outside(cls) -> None:
        _shelves.clear()

    async def write(self, lease: HostLease) -> None:
        await self._asked()
        outside(self.seat.id).leases[lease.host] = lease

    async def read(self, host: HostId) -> Reading:
        await self._asked()
        lease = outside(self.seat.id).leases.get(host)
        if lease is None:
            raise NotFound(f"host {host} never kept a lease on pool {self.seat.name}")
        return Reading(mark=msgspec.json.encode(lease), lease=lease)

    async def _asked(self) -> None:
        if self.options.latency_s:
            await asyncio.sleep(self.options.latency_s)
        await outside(self.seat.id).reached(self.seat.address)


def outside(pool: str) -> SimShelf:
    """Return the shelf of the pool of that id; made when first asked for."""
    return _shelves.setdefault(pool, SimShelf())
