"""The data service's clock: it never goes back, whatever the machine's does.

Leases end and tokens are forgotten by it, and every process follows it. After a power failure a
machine may come up hours behind; then time goes on from the last date that is on disk. Where the
machine's clock is ahead, that counts: the machine may have slept.
"""

from __future__ import annotations

from csnode.clock import now

PACE = 0.9  # while the machine's clock is behind: it catches up, and no lease ends too early


class Timekeeper:
    """Seconds since 1970, from readings of a clock that may be wrong."""

    def __init__(self) -> None:
        self._at, self._moment = 0.0, 0.0

    def notice(self, at: float) -> None:
        """It was that late already; the date is on disk, or was proved to be ours."""
        self._keep(max(at, self._reckoned()))

    def time(self, reading: float) -> float:
        """The time now, if the machine's clock (or the database server's) shows that."""
        self._keep(max(reading, self._reckoned()))
        return self._at

    def _reckoned(self) -> float:
        """By what has passed since it was known."""
        return self._at + max(0.0, now() - self._moment) * PACE if self._at else 0.0

    def _keep(self, at: float) -> None:
        self._at, self._moment = at, now()
