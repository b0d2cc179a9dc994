"""Rolling restarts and upgrades that no client notices; `make rolling` does it for longer.

Old versions come from this repository's history: a tree without it has nothing to come from.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests import servers
from tests.system.rolling.plans import PREVIOUS, restart, up
from tests.system.rolling.run import Report, Rolling
from tests.system.rolling.table import table

REST_S = 0.5


@pytest.mark.nightly
def test_every_process_is_restarted_under_load_and_nobody_notices(tmp_path: Path) -> None:
    begin, turns = restart(tmp_path, "", shared=False)
    check(asyncio.run(Rolling(tmp_path, turns, begin=begin, rest_s=REST_S).roll()))


@pytest.mark.nightly
def test_nor_if_two_data_processes_share_a_postgresql(tmp_path: Path) -> None:
    begin, turns = restart(tmp_path, "", shared=True)
    with servers.postgres() as server:
        rolling = Rolling(tmp_path, turns, begin=begin, url=server.database(), rest_s=REST_S)
        check(asyncio.run(rolling.roll()), turns=11)


def test_the_version_before_is_upgraded_under_load_and_nobody_notices(tmp_path: Path) -> None:
    look = ["git", "cat-file", "-e", f"{PREVIOUS}^{{commit}}"]
    if subprocess.run(look, cwd=Path(__file__).parent, capture_output=True, check=False).returncode:
        pytest.skip(f"this clone has no history that reaches back to {PREVIOUS}")
    begin, turns = up(tmp_path, PREVIOUS, shared=False)
    check(asyncio.run(Rolling(tmp_path, turns, begin=begin, rest_s=REST_S).roll()))


def check(report: Report, turns: int = 10) -> None:
    """Whether the load was there, and all of it was answered."""
    told = table(report)
    assert len(report.turns) == turns, told
    assert report.requests > 20 * report.seconds, told
    assert report.accepted > 20, told
    assert report.good, told
