"""A host's lease in one pool: renewed while it can be, and what follows when it cannot.

Others may take this host's machines on the pool for stopped, and start them elsewhere, once the
lease has stood still for `stale_seconds`. So they are stopped here long before: `lease_seconds`
after the last renewal BEGAN, for it may be read as from that moment on.

No keeper, no guard: if this process dies while the pool is lost, nobody stops them. Only a hardware
watchdog, which resets the host then, makes a lease that stands still proof by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from csnode.clock import now
from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.leasehold import HostLease, Leasehold
from csnode.faults import Fault, Unavailable
from csnode.log import logger
from csnode.types import HostId, Struct, VmId
from roles.keeper.guests import Guests

RENEW_S = 2.0
AGAIN_S = 0.5  # while it is lost: what starts before the keeper knows that it is back is stopped
LOOK_S = 0.25
START_S = 3.0  # a keeper that starts has so long for its first renewal
FAREWELL_S = 3.0
log = logger("keeper")
Tell = Callable[[str], Awaitable[None]]


class Terms(Struct):
    """How long is long; see [keeper]."""

    lease_s: float
    stop_s: float
    stale_s: float
    armed: bool


class Guard:
    """Renews in one task and watches in another, so that a renewal that hangs is noticed."""

    def __init__(
        self, host: HostId, epoch: str, pool: Leasehold, hypervisor: Hypervisor, terms: Terms,
        tell: Tell,
    ) -> None:  # fmt: skip
        self.pool, self._host, self._epoch, self._terms = pool, host, epoch, terms
        self._guests = Guests(hypervisor, pool)
        self._tell = tell
        self._count = 0
        self._good = now() - terms.lease_s + START_S  # when the last renewal began that came true
        self._why = "it was not renewed yet"
        self.lost = False  # it ran out, and not all that follows is done

    @property
    def holds(self) -> bool:
        """Whether the pool was written to lately: then it can be read too."""
        return not self.lost and now() - self._good <= 2 * RENEW_S

    @property
    def overdue(self) -> bool:
        """Whether machines may run that were to be off by now."""
        late_s = self._terms.lease_s + self._terms.stop_s
        return now() - self._good > late_s and now() - self._guests.none_at > self._terms.stop_s

    @property
    def troubles(self) -> Sequence[str]:
        """What an operator should know."""
        if not self.lost:
            return ()
        return (
            f"pool {self.pool.seat.name} is lost since {now() - self._good:.0f} s: {self._why}; "
            "the machines that have disks there are stopped",
        )

    async def renew(self) -> None:
        """Renew for ever. A renewal that comes true late counts from when it began: for nothing."""
        while True:
            began = now()
            try:
                await self.pool.write(self._lease(not self.lost))
            except Fault as fault:
                if fault.message != self._why:
                    log.warning("lease not renewed", pool=self.pool.seat.name, why=fault.message)
                self._why = fault.message
            else:
                self._good, self._why = began, "a renewal does not return"
            again_s = AGAIN_S if self.lost else RENEW_S
            await asyncio.sleep(max(0.0, began + again_s - now()))

    async def watch(self) -> None:
        """Watch for ever: as soon as the lease has run out, stop what has disks on the pool."""
        while True:
            if not self.lost and self._is_out():
                self.lost = True
                log.error("lease lost", pool=self.pool.seat.name, why=self._why)
            if self.lost:
                await self._settle()
            await asyncio.sleep(LOOK_S)

    async def leave(self) -> None:
        """Say that from now on nobody guards. Unavailable if that could not be said."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self.pool.write(self._lease(False))
        except TimeoutError as error:
            raise Unavailable(f"pool {self.pool.seat.name} does not take the lease back") from error

    async def close(self) -> None:
        """End whatever is under way."""
        await self._guests.close()

    def _is_out(self) -> bool:
        return now() - self._good > self._terms.lease_s

    async def _settle(self) -> None:
        """Take the lease back, once it can be renewed and nothing runs that ran without it.

        Until then renewals say that nobody guards: whoever reads them knows nothing.
        """
        if not await self._guests.stop():
            return
        if stopped := sorted(self._guests.stopped):
            self._guests.stopped.clear()
            await self._tell(self._report(stopped))
        if self._is_out():
            self.pool.anew()
            return
        self.lost = False
        log.warning("lease held again", pool=self.pool.seat.name)

    def _report(self, stopped: Sequence[VmId]) -> str:
        return (
            f"it lost pool {self.pool.seat.name} ({self._why}), and stopped the machines that have "
            f"disks there: {', '.join(stopped)}"
        )

    def _lease(self, guarding: bool) -> HostLease:
        self._count += 1
        return HostLease(
            host=self._host, epoch=self._epoch, count=self._count, guarding=guarding,
            armed=self._terms.armed, stale_seconds=self._terms.stale_s,
        )  # fmt: skip
