"""A pytest plug-in that breaks csnode while the tests run: -p tests.sim.sabotaged, $SABOTAGE."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.sim.sabotage import ALL


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Every test runs sabotaged, from its fixtures on."""
    with ALL[os.environ["SABOTAGE"]]():
        yield
