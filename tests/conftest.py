"""What pytest is told of all tests: which are for the night, and in which order files begin.

`make test` runs files side by side: those that take longest come first, so that nothing is left
to wait for at the end. What takes long and is proven shorter by another is for `make nightly`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
LAST = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("NIGHTLY"):
        late = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    items.sort(key=lambda item: _turn(item.path))  # stable: within a file nothing moves


@cache
def _turn(file: Path) -> int:
    """The lab, guests and processes; then what starts servers; then the virtual worlds."""
    text, part = file.read_text(), file.relative_to(ROOT).parts[0]
    if "tests.lab" in text or file.name in ("test_real.py", "test_chaos.py"):
        return 0
    if part == "system" or "pytest.mark.real" in text:
        return 1
    return 2 if "tests.servers" in text or "from tests import servers" in text else LAST
