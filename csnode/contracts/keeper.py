"""What may be asked of the keeper role; always at one host."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers
from csnode.drivers.leasehold import HostLease
from csnode.types import HostId, Message, PoolId


class Standing(Message):
    """How a host's lease in a pool stands, as the keeper of another host reads it."""

    lease: HostLease | None = None  # the last whole one that it read; None: all were torn
    still_s: float = 0.0  # for how long nobody has written, by the reader's clock


@callers("monitor", "fabric", "orchestrator")
class Keeper(Service, Protocol):
    """A small process on each hypervisor host, apart from compute: it bears witness."""

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the addresses that answer an echo request from this host, within 1 s."""
        ...

    async def standing(self, host: HostId, pool: PoolId) -> Standing:
        """Return how that host's lease in a shared pool stands; watched from the first time on.

        NotFound if the host has none there or this one does not know the pool, Unavailable if
        this one cannot vouch for what it reads: its own lease there is not good.
        """
        ...
