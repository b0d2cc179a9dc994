"""kill -9 under load, for half a minute; `make chaos SECONDS=300` does it for longer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.system.chaos.figures import CLEAN, table
from tests.system.chaos.run import Chaos

SECONDS, SEED, KILL_EVERY_S = 25.0, 3, 2.5
JOBS = 21  # a busy machine needs longer for them


def test_nothing_is_lost_when_processes_are_killed_under_load(tmp_path: Path) -> None:
    report = asyncio.run(Chaos(tmp_path, SECONDS, SEED, KILL_EVERY_S, jobs=JOBS).run())
    told = table(report)
    assert report.rows[-1].kills >= 3, told
    assert report.accepted >= JOBS, told
    assert report.ended == report.accepted, told
    assert report.failed <= report.failed_max, told
    assert report.findings == (), told
    assert report.fallen == (), told
    assert report.verify == CLEAN, told
