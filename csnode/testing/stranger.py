"""Another cloud of the same name on the LAN of a world: a data process with a database of its own.

Nothing keeps it apart but the id that its database has: it is heard by all, and hears all.
"""

from __future__ import annotations

from typing import Self

from csnode.config import Config
from csnode.testing import disk
from csnode.testing.standing import principal
from csnode.testing.world import Process, World

NAME = "stranger"


class Stranger:
    """Enter it to have it start; leave it to have it end."""

    def __init__(self, world: World, roles: tuple[str, ...] = ("data",)) -> None:
        self.world = world
        self.process = Process(NAME, roles)
        self.process.disk = NAME

    async def __aenter__(self) -> Self:
        disk.forget(NAME)
        self.world.notes.pop(NAME, None)
        config = Config(self.world.config(self.process))
        self.world.wire.principals[NAME] = principal([config])
        self.world.launch(self.process)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.kill(self.process)
        self.world.wire.principals.pop(NAME, None)
        disk.forget(NAME)
        self.world.notes.pop(NAME, None)
