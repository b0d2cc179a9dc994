"""Every pair of taking something away and using it, at once; by night each plays twelve rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from csnode.testing.loop import simulate
from tests.sim.race import ROUNDS, Pair, pairs, raced

PAIRS = pairs()
SOME = {("network", "deleteNetwork"), ("pod", "deletePod"), ("cluster", "deleteCluster")}
ALWAYS = [pair for pair in PAIRS if (pair.kind, pair.away) in SOME and pair.away != pair.use]


def test_the_pairs_follow_from_the_declarations() -> None:
    names = {(pair.away, pair.use) for pair in PAIRS}
    assert ("deleteTemplate", "deployVirtualMachine") in names
    assert ("updateZone", "deployVirtualMachine") in names
    assert len(PAIRS) > 150


@pytest.mark.parametrize("pair", ALWAYS, ids=lambda pair: pair.name)
def test_taking_away_and_using_at_once_leaves_nothing_stuck_or_wrong(
    pair: Pair, tmp_path: Path
) -> None:
    race = simulate(raced(tmp_path, pair, 2, 0, 2))
    assert race.wrong == []


@pytest.mark.nightly
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_no_pair_leaves_anything_stuck_or_wrong(pair: Pair, tmp_path: Path) -> None:
    race = simulate(raced(tmp_path, pair, ROUNDS, 0, 2))
    assert race.wrong == []
