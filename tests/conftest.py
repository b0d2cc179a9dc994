"""Which tests need the machine for themselves, and which wait for servers most of their time.

`make test` runs the three kinds beside each other.
"""

from __future__ import annotations

from functools import cache
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
        elif _starts_servers(item.path):
            item.add_marker(pytest.mark.server)


@cache
def _starts_servers(path: Path) -> bool:
    """Whether the file starts PostgreSQL, ZooKeeper or Redis (tests/servers.py)."""
    text = path.read_text()
    return "tests.servers" in text or "from tests import servers" in text
