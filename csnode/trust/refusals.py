"""Refusals: each is counted, and told of in the log; the same one not more than once a minute."""

from __future__ import annotations

from csnode import metrics
from csnode.clock import wall
from csnode.log import logger

QUIET_S = 60.0
TOLD_MAX = 1000  # different ones remembered; whoever makes up more is told of less
log = logger("trust")


class Refusals:
    """Those of one kind: "connection", "call" or "beacon"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._counter = metrics.REFUSALS.labels(what)
        self._told: dict[tuple[str, str], float] = {}
        self.count = 0

    def note(self, who: str, why: str, **more: str) -> None:
        """Note that somebody was refused, for that reason."""
        self.count += 1
        self._counter.inc()
        at = wall()
        if abs(at - self._told.get((who, why), -QUIET_S)) < QUIET_S:
            return
        if len(self._told) >= TOLD_MAX:
            self._told = {k: then for k, then in self._told.items() if abs(at - then) < QUIET_S}
            if len(self._told) >= TOLD_MAX:
                return
        self._told[who, why] = at
        log.warning(f"{self._what} refused", who=who, why=why, so_far=self.count, **more)
