"""What pytest is told of all tests: which are for the night, and in which order files begin.

`make test` runs files side by side: those that take longest come first, so that nothing is left
to wait for at the end. What takes long and is proven shorter by another is for `make nightly`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent

# How fast a machine draws and runs an example is nothing that a test may fail for.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("NIGHTLY"):
        late = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    order = {file: n for n, file in enumerate(_ordered(dict.fromkeys(i.path for i in items)))}
    items.sort(key=lambda item: order[item.path])  # stable: within a file nothing moves


def _ordered(files: Iterable[Path]) -> list[Path]:
    """The lab, guests and processes; then what waits for servers among what only computes."""
    by_turn: dict[int, list[Path]] = {}
    for file in files:
        by_turn.setdefault(_turn(file), []).append(file)
    waiting, computing = by_turn.get(2, []), by_turn.get(3, [])
    each = len(computing) // (len(waiting) + 1) // 2 + 1
    mixed: list[Path] = []
    for n, file in enumerate(waiting):
        mixed += [file, *computing[n * each : (n + 1) * each]]
    return [*by_turn.get(0, []), *by_turn.get(1, []), *mixed, *computing[len(waiting) * each :]]


def _turn(file: Path) -> int:
    text, part = file.read_text(), file.relative_to(ROOT).parts[0]
    if "tests.lab" in text or file.name in ("test_real.py", "test_chaos.py"):
        return 0
    if part == "system" or "pytest.mark.real" in text:
        return 1
    return 2 if "tests.servers" in text or "from tests import servers" in text else 3
