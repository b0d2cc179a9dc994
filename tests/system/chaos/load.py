"""What the clients do: order machines, stop, start and destroy them, rename them, and look.

A machine's orders are its owner's, one after the other, so its state is foreseeable; its name is
everybody's, so names are written and read side by side. Ids of machines and jobs are chosen here:
what an answer did not tell is asked after.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count
from uuid import UUID

from tests.system.chaos.client import SOON_S, Client
from tests.system.chaos.record import Request

MACHINES_MAX = 4  # of one owner
POLL_S = 0.15
THINK_S = 0.05
WEIGHTS = {"power": 4, "deploy": 3, "destroy": 2, "rename": 4, "look": 4, "survey": 1}


class Town:
    """The machines that everybody knows of."""

    def __init__(self, ready: dict[str, str], networks: list[str], chance: random.Random) -> None:
        self.ready, self.networks, self.chance = ready, networks, chance
        self.machines: list[str] = []
        self.stopping = False
        self._numbers = count(1)

    def new_id(self) -> str:
        """A fresh UUID; chance is seeded, so a run's ids are its own only with its seed."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def new_name(self) -> str:
        """A display name that was never given before."""
        return f"name-{next(self._numbers)}"


class Owner:
    """One client at work; `mine` are its machines and whether each runs."""

    def __init__(self, client: Client, town: Town) -> None:
        self.client, self.town = client, town
        self.mine: dict[str, bool] = {}

    async def work(self) -> None:
        """Until the town is stopping; what was begun is ended."""
        while not self.town.stopping:
            act = self.town.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            await getattr(self, f"_{act}")()
            await asyncio.sleep(THINK_S)

    async def _deploy(self) -> None:
        if len(self.mine) >= MACHINES_MAX:
            return
        town, id = self.town, self.town.new_id()
        ended = await self._ordered(
            "deployVirtualMachine", customid=id, displayname=town.new_name(),
            networkids=town.chance.choice(town.networks), **town.ready,
        )  # fmt: skip
        if ended is not None:
            town.machines.append(id)
            self.mine[id] = ended

    async def _power(self) -> None:
        if not self.mine:
            return
        id = self.town.chance.choice(list(self.mine))
        verb = "stopVirtualMachine" if self.mine[id] else "startVirtualMachine"
        if await self._ordered(verb, id=id):
            self.mine[id] = not self.mine[id]

    async def _destroy(self) -> None:
        if len(self.mine) < 2:
            return
        id = self.town.chance.choice(list(self.mine))
        if await self._ordered("destroyVirtualMachine", id=id, expunge="true"):
            del self.mine[id]
            self.town.machines.remove(id)

    async def _rename(self) -> None:
        """Sent once: if it is not known whether it took effect, the judge allows both.

        Then it is looked at, maybe by the other api: an acknowledged write shows everywhere.
        """
        if self.town.machines:
            id = self.town.chance.choice(self.town.machines)
            name = self.town.new_name()
            await self.client.ask("updateVirtualMachine", id=id, displayname=name)
            await self.client.ask("listVirtualMachines", id=id)

    async def _look(self) -> None:
        if self.town.machines:
            id = self.town.chance.choice(self.town.machines)
            await self.client.ask("listVirtualMachines", id=id)

    async def _survey(self) -> None:
        await self.client.ask("listVirtualMachines", listall="true")

    # -- jobs ------------------------------------------------------------------------------

    async def _ordered(self, command: str, **params: str) -> bool | None:
        """How the job ended; None if the order was refused."""
        job = self.town.new_id()
        if not await self._accepted(job, command, **params):
            return None
        while True:
            found = await self.client.insist("queryAsyncJobResult", jobid=job)
            if found.kind == "refused":  # it was accepted: the judge will say so
                return False
            if found.answer["jobstatus"]:
                return bool(found.answer["jobstatus"] == 1)
            await asyncio.sleep(POLL_S)

    async def _accepted(self, job: str, command: str, **params: str) -> bool:
        """Order until it is known whether the order was taken: asking twice is asking once."""
        request: Request | None = None
        while True:
            asked = request is not None
            request = await self.client.ask(command, customjobid=job, **params)
            if request.kind == "ok" or (request.kind == "refused" and not asked):
                return request.kind == "ok"
            found = await self.client.insist("queryAsyncJobResult", jobid=job)
            if found.kind == "ok" or request.kind == "refused":
                return found.kind == "ok"
            await asyncio.sleep(SOON_S)
