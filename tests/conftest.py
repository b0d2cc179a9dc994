"""Which tests need the machine for themselves: `make test` runs the others beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Guests, namespaces and processes of ours stand in each other's way, and in nobody else's."""
    for item in items:
        place = item.path.relative_to(ROOT)
        if item.get_closest_marker("real") or place.parts[0] == "system":
            item.add_marker(pytest.mark.machine)
