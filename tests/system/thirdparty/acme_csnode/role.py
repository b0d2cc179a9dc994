"""The greeter role: counts. Serves nothing. Writes the fact acme_greeting.times."""

from __future__ import annotations

from acme_csnode.greeting import Greeting
from csnode.config import Section
from csnode.role import Role, every


class GreeterConfig(Section):
    """The [greeter] section."""

    step: int = 1


class GreeterRole(Role[GreeterConfig]):
    """One per cloud."""

    name = "greeter"

    @every(seconds=0.2)
    async def greet(self) -> None:
        for row in await self.store.find(Greeting):
            await self.store.observe(Greeting, row.id, times=row.times + self.config.step)
