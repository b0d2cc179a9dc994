"""The fencer by storage leases: switches nothing off, and knows when nothing is left to lose.

A host's keeper stops those of its machines whose shared pool it cannot write to any more (see
roles/keeper). So a lease that stands still for long enough is proof that they are stopped: if the
keeper lived to do it, or a hardware watchdog reset the host. WITHOUT A WATCHDOG a keeper that died
leaves nobody to stop them, and its lease stands still just the same. Then it is no proof, unless
`[fabric] trust_lease` says that an operator takes the risk of machines that run twice.

What it proves is about machines with disks on shared pools. The host itself may be on, and its
routers work; once it is heard again, it is cleared of them before it is used.
"""

from __future__ import annotations

import asyncio

from csnode.clock import now
from csnode.drivers.fencer import Fencer, Leased, LeaseSeen, PoolSeen
from csnode.drivers.leasehold import HostLease
from csnode.faults import Refused, Unavailable
from csnode.types import Struct

LOOK_S = 1.0
LATE_S = 4.0  # by which what a keeper saw may be behind what we waited
PATIENCE_S = 80.0


class LeaseOptions(Struct, forbid_unknown_fields=True):
    """How long a lease must stand still, if that is to be longer than the host itself says."""

    seconds: float | str = 0.0


class LeaseFencer(Fencer):
    """Watches from the moment in which it is asked: what was ordered before, has happened then."""

    options_type = LeaseOptions
    options: LeaseOptions

    async def fence(self) -> str:
        began = now()
        while True:
            leased = await self._look()
            passed = now() - began
            _check(self.seat.name, leased)
            waits = [self._left(pool, passed, leased.trusted) for pool in leased.pools]
            if not any(waits):
                return _proof(leased)
            if passed > PATIENCE_S:
                raise Unavailable(f"leases of {self.seat.name} are not seen steadily")
            await asyncio.sleep(min(LOOK_S, max(waits)))

    async def power(self) -> str:
        return ""

    async def restore(self) -> None:
        raise Refused(f"host {self.seat.name} was not switched off: it comes back by itself")

    async def _look(self) -> Leased:
        if self.leases is None:
            raise Refused(f"nobody says how the leases of {self.seat.name} stand")
        return await self.leases.look()

    def _left(self, pool: PoolSeen, passed: float, trusted: bool) -> float:
        """Return seconds until the pool's lease is proof; raises why it is none."""
        host = self.seat.name
        lease, still = _newest(host, pool)
        if not lease.guarding:
            raise Unavailable(f"the keeper of {host} said that it guards nothing on {pool.name}")
        if still + LATE_S < passed:
            raise Unavailable(
                f"the lease of {host} on {pool.name} is renewed: its machines may run"
            )
        if not lease.armed and not trusted:
            raise Refused(
                f"the keeper of {host} has no watchdog: if it died, its machines on {pool.name} run"
                " on though its lease stands still ([keeper] watchdog, [fabric] trust_lease)"
            )
        need = max(lease.stale_seconds, float(self.options.seconds))
        return max(0.0, need - min(still, passed))


def _check(host: str, leased: Leased) -> None:
    """Raise Refused if leases cannot tell all there is to know."""
    if leased.unguarded:
        some = "; ".join(leased.unguarded[:5])
        more = len(leased.unguarded) - 5
        raise Refused(
            f"leases prove nothing of {host}: {some}{f'; and {more} more' if more > 0 else ''}"
        )
    if not leased.pools:
        raise Refused(f"host {host} reaches no shared pool, so it keeps no lease")


def _newest(host: str, pool: PoolSeen) -> tuple[HostLease, float]:
    """Return the host's lease, and for how long it stands still.

    If keepers differ, somebody is behind.
    """
    read = [(seen.lease, seen.still_s) for seen in pool.seen if seen.lease is not None]
    if not read:
        raise Unavailable(f"no other host can say how the lease of {host} stands: {_whys(pool)}")
    leases = {(lease.epoch, lease.count) for lease, _ in read}
    stills = [still for _, still in read]
    lease = max((lease for lease, _ in read), key=lambda each: each.count)
    return lease, max(stills) if len(leases) == 1 else 0.0


def _whys(pool: PoolSeen) -> str:
    def why(seen: LeaseSeen) -> str:
        return f"{seen.by}: {seen.why or 'it reads torn writing'}"

    return "; ".join(map(why, pool.seen)) or f"no keeper that reaches {pool.name} is heard"


def _proof(leased: Leased) -> str:
    said: list[str] = []
    for pool in leased.pools:
        read = ((s.lease, s.still_s) for s in pool.seen if s.lease is not None)
        lease, still_s = max(read, key=lambda each: each[1])
        how = "watchdog armed" if lease.armed else "no watchdog, trusted"
        said.append(f"its lease on {pool.name} stands still for {still_s:.0f} s ({how})")
    return ", ".join(said)
