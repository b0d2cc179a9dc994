"""The data service's clock: it never goes back, whatever the machine's does.

Leases end and tokens are forgotten by it, and every process follows it. After a power failure a
machine may come up hours behind; then time goes on from the last date that is on disk. Where the
machine's clock is ahead, that counts: the machine may have slept. Far ahead of what it showed
before, it counts once that has lasted: time that was believed cannot be taken back.
"""

from __future__ import annotations

from csnode.clock import now
from csnode.log import logger

log = logger("data")
PACE = 0.9  # while the machine's clock is behind: it catches up, and no lease ends too early

AHEAD_S = 3600.0  # what a clock may jump, or somebody's date be beyond ours
SURE_S = 180.0  # further ahead for so long: it is not one wrong reading


class Timekeeper:
    """Seconds since 1970, from readings of a clock that may be wrong."""

    def __init__(self) -> None:
        self._at, self._moment = 0.0, 0.0
        self._read: float | None = None  # what has to be added to `now` to give the last reading
        self._doubted: float | None = None  # since when readings are far ahead

    def notice(self, at: float) -> None:
        """Note that it was that late already; the date is on disk."""
        self._keep(max(at, self._reckoned()))

    def hear(self, at: float) -> None:
        """Note that it was that late, as we said: by a clock that may have been wrong since."""
        if self._read is not None:
            self.notice(min(at, self._read + now() + AHEAD_S))

    def time(self, reading: float) -> float:
        """Return the time now, if the machine's clock (or the database server's) shows that."""
        self._keep(max(self._believed(reading), self._reckoned()))
        return self._at

    def _believed(self, reading: float) -> float:
        """Tell what a reading is worth: nothing while it is far ahead, and not for long enough.

        The first one counts as it is: the machine may have been off for long.
        """
        if self._read is None or reading <= self._reckoned() + AHEAD_S:
            self._doubted = None
        elif self._doubted is None:
            self._doubted = now()
            log.warning("the clock jumped ahead", by_s=round(reading - self._reckoned()))
        if self._doubted is not None and now() < self._doubted + SURE_S:
            return 0.0
        self._doubted, self._read = None, reading - now()
        return reading

    def _reckoned(self) -> float:
        """Reckon the time by what has passed since it was known."""
        return self._at + max(0.0, now() - self._moment) * PACE if self._at else 0.0

    def _keep(self, at: float) -> None:
        self._at, self._moment = at, now()
