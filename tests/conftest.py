"""Tests side by side (`make test` gives each core a worker), and which must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
ALONE = ("sim", "api")  # each of their tests is a world of its own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the machine (guests, namespaces, processes) goes one after the other, in one
    worker; of the rest, the tests of one file stay together unless they are worlds of their own.
    """
    for item in items:
        place = item.path.relative_to(ROOT)
        if item.get_closest_marker("real") or place.parts[0] == "system":
            item.add_marker(pytest.mark.xdist_group("machine"))
        elif place.parts[0] not in ALONE:
            item.add_marker(pytest.mark.xdist_group(str(place)))
