"""One virtual world a test: real roles and sagas, simulated hardware, no real time."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from csnode.testing.cloud import SimCloud, sim_config
from csnode.testing.loop import simulate
from tests.sim.world import forget_outside

Story = Callable[[SimCloud], Awaitable[Any]]
World = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """world(story, hosts=3, seed=0, **sections): play the story in a cloud of its own."""

    worlds = itertools.count()

    def play(story: Story, *, hosts: int = 3, seed: int = 0, **sections: dict[str, Any]) -> Any:
        forget_outside()
        folder = tmp_path / f"world-{next(worlds)}"

        async def whole() -> Any:
            async with SimCloud(sim_config(folder, hosts, **sections), seed) as cloud:
                return await story(cloud)

        return simulate(whole())

    return play
