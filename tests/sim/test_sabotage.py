"""Each way to break csnode is noticed. The figures are in README.md beside this."""

from __future__ import annotations

import pytest

from tests.sim.sabotage import ALL, CATCHERS, caught


@pytest.mark.parametrize("name", ALL)
def test_the_sabotage_is_caught(name: str) -> None:
    assert caught(name), f"nothing noticed {name}"


def test_every_sabotage_has_its_catcher() -> None:
    assert set(CATCHERS) == set(ALL)
