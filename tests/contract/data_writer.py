"""Plays the data role for tests; run as a program, it commits until it is killed.

`python -m tests.contract.data_writer PATH-OR-URL LIFE` prints the id and the number of each zone
whose commit was acknowledged; 16 callers at once, each commit takes a value of a range too. Who is
told that the service is unavailable asks again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from csnode import log
from csnode.bus.bus import Bus
from csnode.bus.local import LocalBus
from csnode.config import NodeConfig
from csnode.contracts.data import Commit, Committed, Data, Take
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Conflict, Unavailable
from csnode.model.place import Zone
from csnode.model.stock import Range
from csnode.testing.data_cloud import Turn, created
from roles.data.config import DataConfig
from roles.data.role import DataRole


@asynccontextmanager
async def playing(bus: Bus, config: DataConfig) -> AsyncGenerator[Turn]:
    """The data role on that bus; its @every methods take a turn when they are told to."""
    async with role_of(bus, config) as role:

        async def turn() -> None:
            for _, look in role.loops():
                await look()

        yield turn


@asynccontextmanager
async def role_of(bus: Bus, config: DataConfig) -> AsyncGenerator[DataRole]:
    """The role itself."""
    role = DataRole(config, NodeConfig(), bus, Store(bus, "data"))
    async with asynccontextmanager(role.opened)():
        yield role


async def insist(data: Data, commit: Commit) -> Committed:
    """Until it is done."""
    while True:
        with suppress(Unavailable):
            return await data.commit(commit)
        await asyncio.sleep(0.01)


async def write(path: str, life: str) -> None:
    """Never ends by itself."""
    bus = LocalBus(AloneDirectory())
    shared = path.startswith("postgresql:")
    async with playing(bus, DataConfig(url=path) if shared else DataConfig(path=path)):
        data = bus.ask(Data)
        with suppress(Conflict):
            await insist(
                data, Commit(changes=(created(Range(id="r", low=0, high=10**9)),), token="range")
            )

        async def caller(name: str) -> None:
            for turn in range(10**9):
                zone = Zone(id=f"{life}-{name}-{turn}", name=f"{life}-{name}-{turn}")
                changes = (created(zone), Take(range="r", owner=zone.id))
                done = await insist(data, Commit(changes=changes, token=zone.id))
                print(zone.id, done.number - 1, flush=True)

        await asyncio.gather(*(caller(str(n)) for n in range(16)))


if __name__ == "__main__":
    log.start("info", "json")  # to stderr
    asyncio.run(write(sys.argv[1], sys.argv[2]))
