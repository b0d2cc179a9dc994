"""The greeter role: counts. Serves nothing. Writes the fact acme_greeting.times."""

from __future__ import annotations

from acme_csnode.greeting import Greeting
from csnode.bus.event import Changed
from csnode.config import Section
from csnode.role import Role, every, on


class GreeterConfig(Section):
    """The [greeter] section."""

    step: int = 1


class GreeterRole(Role[GreeterConfig]):
    """One per cloud."""

    name = "greeter"

    @every(seconds=60)
    async def greet(self) -> None:
        """Everybody, up to four times."""
        for row in await self.store.find(Greeting):
            if row.times < 4:
                await self.store.observe(Greeting, row.id, times=row.times + self.config.step)

    @on(Changed, topic=Greeting.kind)
    async def hear(self, event: Changed) -> None:
        """Each greeting is news, too; without events it would take minutes."""
        await self.greet()
