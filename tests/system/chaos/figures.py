"""How long things took, by the role killed: jobs, outages, and when work went on.

When work went on is read from the database file: each step of a job is a commit with its date.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from csnode.types import Struct
from tests.system.chaos.history import NEVER, Order
from tests.system.chaos.machine import Pace
from tests.system.chaos.probe import Probe
from tests.system.chaos.record import Kill, Record

OUTAGE_S, RESUME_S = 2.0, 10.0  # the aims
CLEAN = "clean"  # what the report says of `csnode verify`
TOLD_MAX = 4  # findings of one kind that are printed


class Row(msgspec.Struct):
    """What came of killing one role; seconds are the longest."""

    role: str
    kills: int = 0
    accepted: int = 0  # jobs, from each such kill to the next kill of anybody
    ended: int = 0
    failed: int = 0
    lost: int = 0
    down_s: float = 0.0  # until the killer started it again
    outage_s: float = 0.0  # until any api answered
    in_flight: int = 0  # jobs at work at the moment of a kill
    resume_s: float = 0.0  # from the kill to the next step of a job in flight, or its end
    alone_s: float = 0.0  # the same, of jobs that went on before anybody else was killed


class Progress:
    """Every job's commits, as the database dates them (seconds since 1970)."""

    def __init__(self, commits: Iterable[tuple[str, float, bool]]) -> None:
        """(job, when, whether it is open after that)."""
        self._commits: defaultdict[str, list[float]] = defaultdict(list)
        self._closed: dict[str, float] = {}
        for job, at, open in commits:
            self._commits[job].append(at)
            if not open:
                self._closed.setdefault(job, at)

    @classmethod
    def read(cls, database: Path) -> Progress:
        """From the feed of a data service that has stopped."""
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            rows = connection.execute(
                "SELECT id, at, row FROM feed WHERE kind = 'job' AND row != '' ORDER BY number"
            ).fetchall()
        connection.close()
        open = {"waiting", "running", "unwinding"}
        return cls(
            (id, at, json.loads(row).get("state", "waiting") in open) for id, at, row in rows
        )

    def resumed(self, wall: float) -> dict[str, float]:
        """Seconds from then to the next commit of each job that was at work then."""
        found: dict[str, float] = {}
        for job, commits in self._commits.items():
            if commits[0] < wall < self._closed.get(job, NEVER):
                after = bisect_right(commits, wall)
                found[job] = commits[after] - wall if after < len(commits) else NEVER
        return found


def rows(
    record: Record,
    orders: Mapping[str, Order],
    lost: set[str],
    probe: Probe,
    progress: Progress,
    until: float,
) -> list[Row]:
    """One for each role killed, and one for all kills together."""
    found: dict[str, Row] = {}
    for kill, next in zip(record.kills, [*record.kills[1:], None], strict=True):
        end = next.at if next else until
        one = _one(kill, end, orders.values(), lost)
        one.down_s = kill.restarted - kill.at
        one.outage_s = probe.longest(kill.at, end)
        resumed = progress.resumed(kill.wall)
        one.in_flight = len(resumed)
        one.resume_s = max(resumed.values(), default=0.0)
        one.alone_s = max((s for s in resumed.values() if s <= end - kill.at), default=0.0)
        _add(found.setdefault(kill.role, Row(kill.role)), one)
    total = Row("all")
    for row in found.values():
        _add(total, row)
    return [*(found[role] for role in sorted(found)), total]


def _one(kill: Kill, end: float, orders: Iterable[Order], lost: set[str]) -> Row:
    some = [o for o in orders if o.accepted != NEVER and kill.at <= o.accepted < end]
    return Row(
        kill.role,
        kills=1,
        accepted=len(some),
        ended=sum(o.ended != NEVER for o in some),
        failed=sum(o.ended != NEVER and not o.well for o in some),
        lost=sum(o.job in lost for o in some),
    )


def _add(row: Row, more: Row) -> None:
    for name in ("kills", "accepted", "ended", "failed", "lost", "in_flight"):
        setattr(row, name, getattr(row, name) + getattr(more, name))
    for name in ("down_s", "outage_s", "resume_s", "alone_s"):
        setattr(row, name, max(getattr(row, name), getattr(more, name)))


class Report(Struct):
    """A whole run."""

    seconds: float
    seed: int
    requests: int
    unknown: int  # requests whose answer did not come
    accepted: int
    ended: int
    failed: int
    lost: int
    refused: int
    quiet_s: float  # from the last healing until no job was open
    agree_s: float  # and until lists and hardware agreed
    rows: tuple[Row, ...]
    findings: tuple[dict[str, str], ...]
    faults: dict[str, int]  # why jobs failed, and how often
    fallen: tuple[str, ...]  # processes that ended by themselves
    errors: dict[str, int]  # lines of level error, by process
    verify: str  # CLEAN, or what `csnode verify` said
    machine: Pace

    @property
    def good(self) -> bool:
        """Nothing found, nothing lost, nobody fell, and few jobs failed."""
        bad = self.findings or self.lost or self.fallen or self.failed > self.failed_max
        return not bad and self.verify == CLEAN

    @property
    def failed_max(self) -> int:
        """A kill may end what it interrupts: as many jobs as were at work then, and no more."""
        return min(self.rows[-1].in_flight, self.accepted // 4)


HEADS = (
    "killed", "kills", "accepted", "ended", "failed", "lost",
    "down s", "outage s", "in flight", "resume s", "alone s",
)  # fmt: skip


def table(report: Report) -> str:
    """For people."""
    cells: list[Sequence[str]] = [HEADS, *(_cells(row) for row in report.rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(HEADS))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    lines += [
        f"aims: outage <= {OUTAGE_S:g} s, resume <= {RESUME_S:g} s, lost 0; * missed",
        f"{report.seconds:.0f} s, seed {report.seed}: {report.requests} requests,"
        f" {report.unknown} without an answer; {report.accepted} jobs accepted,"
        f" {report.ended} ended, {report.failed} of them failed, {report.lost} lost;"
        f" quiet after {report.quiet_s:.1f} s, lists and hardware agree after"
        f" {report.agree_s:.1f} s",
    ]
    lines += [f"failed {count} times: {why}" for why, count in report.faults.items()]
    lines += [f"errors logged by {name}: {count}" for name, count in report.errors.items()]
    lines += [f"FALLEN {what}" for what in report.fallen]
    lines += [str(report.machine)]
    lines += [f"VERIFY {report.verify}"]
    return "\n".join([*lines, *_told(report)])


def _told(report: Report) -> Iterator[str]:
    """A few findings of each kind; the report has them all."""
    kinds: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for finding in report.findings:
        kinds[finding["check"]].append(finding)
    for check, found in kinds.items():
        yield f"FOUND {len(found)} times {check}:"
        yield from (f"  {f['object']}: {f['what']}" for f in found[:TOLD_MAX])


def _cells(row: Row) -> list[str]:
    counts = (row.kills, row.accepted, row.ended, row.failed, row.lost)
    return [
        row.role,
        *(str(count) for count in counts),
        f"{row.down_s:.2f}",
        _aimed(row.outage_s, OUTAGE_S),
        str(row.in_flight),
        _aimed(row.resume_s, RESUME_S),
        _aimed(row.alone_s, RESUME_S),
    ]


def _aimed(value: float, aim: float) -> str:
    return f"{value:.2f}{'*' if value > aim else ''}"
