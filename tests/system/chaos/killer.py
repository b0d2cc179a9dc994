"""kill -9, one process every few seconds, each started again after a short while."""

from __future__ import annotations

import asyncio
import random
import time

from msgspec.structs import replace

from tests.system.chaos.record import Kill, Record, now
from tests.system.chaos.split import SplitCloud

EVERY_S = (3.0, 7.0)
DOWN_S = (0.1, 0.5)  # as a supervisor would; booting comes on top


class Killer:
    """A seed decides whom, and when; every process has its turn before one has two."""

    def __init__(
        self,
        cloud: SplitCloud,
        record: Record,
        chance: random.Random,
        every_s: float = 0.0,
        only: str = "",
    ) -> None:
        """`every_s`: so often, on average; 0: as a rule. `only`: this role; empty: all of them."""
        self._cloud, self._record, self._chance = cloud, record, chance
        self._span = (every_s * 0.6, every_s * 1.4) if every_s else EVERY_S
        self._victims = [n for n in cloud.names if only in ("", cloud.role_of(n))]
        self._deck: list[str] = []

    async def work(self) -> None:
        """Until cancelled; then nothing is down."""
        while True:
            await asyncio.sleep(self._chance.uniform(*self._span))
            if not self._deck:
                self._deck = sorted(self._victims)
                self._chance.shuffle(self._deck)
            await self._strike(self._deck.pop())

    async def _strike(self, name: str) -> None:
        cloud = self._cloud
        cloud.bury(name)  # it may have ended by itself: that is told then
        kill = Kill(process=name, role=cloud.role_of(name), at=now(), wall=time.time())
        cloud.kill(name)
        self._record.kills.append(kill)
        try:
            await asyncio.sleep(self._chance.uniform(*DOWN_S))
        finally:
            cloud.play(name)
            self._record.kills[-1] = replace(kill, restarted=now())
