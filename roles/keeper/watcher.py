"""How the leases of other hosts in a pool stand: read again and again, by this host's own clock.

A lease is watched from the first question about it on, and for a while after the last. Clocks of
hosts are never compared: it stood still from the moment in which it was first read as it is, to the
moment in which the last reading of the same began.
"""

from __future__ import annotations

import asyncio

from csnode.clock import now
from csnode.contracts.keeper import Standing
from csnode.drivers.leasehold import HostLease, Leasehold, Reading
from csnode.faults import Fault, Unavailable
from csnode.types import HostId

READ_S = 1.0
ASKED_S = 60.0  # after the last question
LATE_S = 3.0  # a reading that took so long, or is so old, says nothing of now


class _Watched:
    """One host's lease."""

    def __init__(self) -> None:
        self.asked = now()
        self.news = asyncio.Event()
        self.lease: HostLease | None = None  # the last whole one
        self.fault: Fault | None = None
        self._mark: bytes | None = None
        self._since = self._seen = 0.0

    @property
    def is_fresh(self) -> bool:
        return self._mark is not None and now() - self._seen <= LATE_S

    @property
    def still_s(self) -> float:
        return max(0.0, self._seen - self._since)

    def note(self, reading: Reading, began: float) -> None:
        self.fault, self._seen = None, began
        if reading.mark != self._mark:
            self._mark, self._since = reading.mark, now()
        if reading.lease is not None:
            self.lease = reading.lease
        self.news.set()

    def fail(self, fault: Fault) -> None:
        """Note a failure: what was seen before it is not known to stand still."""
        self.fault, self._mark = fault, None
        self.news.set()


class Watcher:
    """Reads one pool's leases, as one host."""

    def __init__(self, pool: Leasehold) -> None:
        self._pool = pool
        self._watched: dict[HostId, _Watched] = {}
        self._reading: dict[HostId, asyncio.Task[None]] = {}

    async def standing(self, host: HostId) -> Standing:
        """Return the standing. NotFound if it never kept one; Unavailable if it is unreadable."""
        watched = self._watched.get(host)
        if watched is None:
            watched = self._watched[host] = _Watched()
            self._reading[host] = asyncio.create_task(self._read(host, watched))
        watched.asked = now()
        try:
            async with asyncio.timeout(LATE_S):
                await watched.news.wait()
        except TimeoutError:
            raise Unavailable(f"pool {self._pool.seat.name} does not answer") from None
        if watched.fault is not None:
            raise type(watched.fault)(watched.fault.message)
        if not watched.is_fresh:
            raise Unavailable(f"pool {self._pool.seat.name} does not answer any more")
        return Standing(lease=watched.lease, still_s=watched.still_s)

    async def close(self) -> None:
        """Read no more."""
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _read(self, host: HostId, watched: _Watched) -> None:
        while now() - watched.asked <= ASKED_S:
            began = now()
            try:
                reading = await self._pool.read(host)
            except Fault as fault:
                watched.fail(fault)
            else:
                if now() - began <= LATE_S:
                    watched.note(reading, began)
                else:
                    watched.fail(Unavailable(f"pool {self._pool.seat.name} is slow"))
            await asyncio.sleep(max(0.0, began + READ_S - now()))
        del self._watched[host], self._reading[host]
