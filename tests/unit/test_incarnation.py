"""Every start of a node has a higher number than the one before."""

from __future__ import annotations

from pathlib import Path

import pytest

from csnode import clock
from csnode.directory.incarnation import next_incarnation


def test_a_start_has_a_higher_number_although_the_clock_went_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "wall_source", lambda: 2_000_000.0)
    first = next_incarnation(str(tmp_path), "box/api+data")
    assert first == 2_000_000_000
    monkeypatch.setattr(clock, "wall_source", lambda: 1_000_000.0)
    numbers = [next_incarnation(str(tmp_path), "box/api+data") for _ in range(3)]
    assert numbers == [first + 1, first + 2, first + 3]
    assert next_incarnation(str(tmp_path), "box/compute") == 1_000_000_000


def test_a_node_without_a_disk_has_its_clock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert next_incarnation(str(tmp_path / "file"), "box/api") > 1_700_000_000_000


def test_a_damaged_number_is_replaced(tmp_path: Path) -> None:
    next_incarnation(str(tmp_path), "n")
    (tmp_path / "incarnation" / "n").write_text("rubbish")
    again = next_incarnation(str(tmp_path), "n")
    assert (tmp_path / "incarnation" / "n").read_text() == str(again)
