"""Mistakes that make no difference to anybody: found as survivors, looked at, and said why."""

from __future__ import annotations

from typing import NamedTuple


class Equivalent(NamedTuple):
    """A line before and after the mistake, without indent, wherever it stands in the file."""

    path: str
    before: str
    after: str
    why: str


DATA, TRUST = "csnode/data/", "csnode/trust/"
EQUIVALENT: tuple[Equivalent, ...] = (
    Equivalent(DATA + "position.py",
               "self.kept = names  # what the data service asked last has of them",
               "pass  # what the data service asked last has of them",
               "it is written before it is read: a view is open only once heads were asked for"),
    Equivalent(DATA + "position.py", "self.life = 0  # how often the rows were read as a whole",
               "self.life = (0 + 1)  # how often the rows were read as a whole",
               "only whether it is the same as before is looked at"),
    Equivalent(DATA + "position.py", "self.life += 1", "self.life += (1 + 1)",
               "only whether it is the same as before is looked at"),
    Equivalent(DATA + "follower.py",
               "task.add_done_callback(lambda t: t.cancelled() or t.exception())"
               "  # it was looked at", "pass  # it was looked at",
               "else asyncio logs that nobody saw it"),
    Equivalent(DATA + "view.py", "break", "continue",
               "in _reach_head, where the same is found a second time; no other break is there"),
    Equivalent(DATA + "follower.py", "self._held += parts.values()", "pass",
               "the feed, which is read from then on, has what was heard"),
    Equivalent(TRUST + "files.py", "new.unlink(missing_ok=True)", "new.unlink(missing_ok=False)",
               "it is there: nobody else has a file of that name"),
    Equivalent(TRUST + "trust.py", "return", "pass",
               "in _remember: what is written again stands there already, and is not written"),
    Equivalent("roles/monitor/watch.py",
               "due, pause = self._orders.get(host.id, (0.0, PAUSE_S))",
               "due, pause = self._orders.get(host.id, ((0.0 + 1), PAUSE_S))",
               "in the first second of its life no monitor has seen a host die"),
    Equivalent("csnode/lease/redis.py", "self._ms = max(1, round(seconds * 1000))",
               "self._ms = max((1 + 1), round(seconds * 1000))",
               "no lease lasts a millisecond: 0 alone is what Redis refuses"),
    Equivalent("csnode/model/footprint.py",
               "return {what: limits[what] for what in wanted if limits.get(what, -1) >= 0}",
               "return {what: limits[what] for what in wanted if limits.get(what, -(1 + 1)) >= 0}",
               "any number below 0 is no limit"),
)  # fmt: skip
KNOWN: set[tuple[str, str, str]] = {each[:3] for each in EQUIVALENT}
