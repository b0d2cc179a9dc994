"""A prepared cloud, made once and copied for every world: its database, and what its pools hold."""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from csnode.testing.cloud import SimCloud, sim_config
from csnode.testing.loop import simulate
from roles.storage.drivers import sim as pools
from tests.sim.world import forget_outside, prepared

LATER_S = 60.0  # leases of the cloud it was made in have run out


class Stage:
    """Hosts are Up and a template is ready; nothing else is there."""

    def __init__(self, folder: Path, hosts: int = 3, places: int = 1) -> None:
        """`places` is how many hosts and pools a start is tried at."""
        self._more = {"orchestrator": {"places_max": places}}
        self._folder, self._hosts = folder, hosts
        self._copies = 0
        forget_outside()
        simulate(self._prepare())

    async def _prepare(self) -> None:
        async with SimCloud(sim_config(self._folder / "made", self._hosts)) as cloud:
            await prepared(cloud)
        self._ended = asyncio.get_running_loop().time()
        self._pools = copy.deepcopy(pools._pools)

    def play(self, story: Callable[[SimCloud], Awaitable[Any]], seed: int = 1) -> Any:
        """The story in a copy of the cloud; of another seed than the cloud's, or ids come twice."""
        self._copies += 1
        folder = self._folder / f"copy-{self._copies}"
        shutil.copytree(self._folder / "made", folder)
        forget_outside()
        pools._pools.update(copy.deepcopy(self._pools))

        async def whole() -> Any:
            loop: Any = asyncio.get_running_loop()
            loop._now = self._ended + LATER_S
            async with SimCloud(sim_config(folder, self._hosts, **self._more), seed) as cloud:
                return await story(cloud)

        try:
            return simulate(whole())
        finally:
            shutil.rmtree(folder)
