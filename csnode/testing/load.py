"""Clients of a virtual world: they order, retry with the same token, and remember every answer.

What they remember is independent of the cloud, and is held against it when all is quiet.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import msgspec

from csnode.faults import Unavailable
from csnode.testing.world import World

TRIES = 6
NAMES = ("web", "db", "mail")  # few, so that machines compete for them
PATIENCE_S = 120.0  # for one job, while things go wrong


class Asked(msgspec.Struct):
    """One order, until it was accepted or refused."""

    client: str
    command: str
    params: dict[str, str]
    began: float
    ended: float = 0.0
    status: int = 0  # 0: nobody ever answered
    answer: dict[str, Any] = {}

    @property
    def job(self) -> str:
        """The job it was given; "" if none."""
        return str(self.answer.get("jobid", "")) if self.status == 200 else ""


class Goods(msgspec.Struct):
    """What every client may use."""

    zone: str
    offering: str
    template: str


class Load:
    """Some clients at work, and what they were told."""

    def __init__(self, world: World, seed: int, clients: int = 3) -> None:
        self.world = world
        self.asked: list[Asked] = []
        self.violations: list[str] = []
        self.expected: dict[str, str] = {}  # machine -> the state it must be in; "" if unknown
        self.touched: dict[str, int] = {}  # machine -> how many orders about it so far
        self.under_way: dict[str, int] = {}  # machine -> of those, how many have no known end
        self._clients = [Client(self, f"client-{n}", random.Random(f"{seed} {n}"))
                         for n in range(clients)]  # fmt: skip

    async def work(self, seconds: float) -> None:
        """Let them work for so long; then they only finish what they wait for."""
        self.goods = await self._goods()
        until = self.world.loop.time() + seconds
        await asyncio.gather(*(client.work(until) for client in self._clients))

    async def _goods(self) -> Goods:
        async def first(command: str, **params: str) -> str:
            _, answer = await self.world.ask(self.world.apis()[0], command, params)
            return str(next(v for k, v in answer.items() if k != "count")[0]["id"])

        return Goods(
            zone=await first("listZones"),
            offering=await first("listServiceOfferings", name="Small Instance"),
            template=await first("listTemplates", templatefilter="all"),
        )

    def jobs(self) -> dict[str, Asked]:
        """Every job that was accepted."""
        return {asked.job: asked for asked in self.asked if asked.job}


class Client:
    """One tenant's program: asks, waits for its jobs now and then, and tries again."""

    def __init__(self, load: Load, name: str, chance: random.Random) -> None:
        self.load, self.name, self.chance = load, name, chance
        self.machines: list[str] = []
        self.waiting: list[asyncio.Task[None]] = []

    async def work(self, until: float) -> None:
        loop = self.load.world.loop
        while loop.time() < until:
            await self._turn()
            await asyncio.sleep(self.chance.uniform(0.05, 4.0))
        if self.waiting:
            await asyncio.wait(self.waiting, timeout=PATIENCE_S)

    async def _turn(self) -> None:
        what = self.chance.choices(
            ("deploy", "stop", "start", "reboot", "destroy", "expunge", "recover", "rename",
             "network", "cancel", "none"),
            (6, 3, 3, 1, 2, 2, 1, 2, 1, 1, 1),
        )[0]  # fmt: skip
        if what == "deploy" or not self.machines:
            await self._deploy()
        elif what == "network":
            await self._network()
        elif what != "none":
            await self._act(what, self.chance.choice(self.machines))

    # -- orders ------------------------------------------------------------------------------

    async def _deploy(self) -> None:
        goods = self.load.goods
        id = self._uuid()
        params = {
            "zoneid": goods.zone, "serviceofferingid": goods.offering,
            "templateid": goods.template, "customid": id, "customjobid": self._uuid(),
        }  # fmt: skip
        if self.chance.random() < 0.15:
            params["startvm"] = "false"
        if self.chance.random() < 0.3:
            params["name"] = self.chance.choice(NAMES)
        wanted = "Stopped" if "startvm" in params else "Running"
        alone = self._begin(id)
        asked = await self._order("deployVirtualMachine", params)
        if asked.job:
            self.machines.append(id)
            await self._follow(asked, id, wanted if alone else "")

    def _begin(self, id: str) -> bool:
        """An order about the machine begins; whether nothing else about it is under way."""
        load = self.load
        load.expected[id] = ""
        load.touched[id] = load.touched.get(id, 0) + 1
        load.under_way[id] = load.under_way.get(id, 0) + 1
        return load.under_way[id] == 1

    async def _act(self, what: str, id: str) -> None:
        if what == "rename":
            await self._rename(id)
            return
        if what == "cancel":
            await self._cancel()
            return
        command, params, wanted = {
            "stop": ("stopVirtualMachine", {}, "Stopped"),
            "start": ("startVirtualMachine", {}, "Running"),
            "reboot": ("rebootVirtualMachine", {}, "Running"),
            "destroy": ("destroyVirtualMachine", {}, "Destroyed"),
            "expunge": ("destroyVirtualMachine", {"expunge": "true"}, "gone"),
            "recover": ("recoverVirtualMachine", {}, "Stopped"),
        }[what]
        asynchronous = what != "recover"
        alone = self._begin(id)
        more = {"customjobid": self._uuid()} if asynchronous else {}
        asked = await self._order(command, {"id": id, **params, **more})
        if wanted == "gone":
            self.machines.remove(id)
        if asked.job:
            await self._follow(asked, id, wanted if alone else "")
        elif asked.status:  # refused: nothing is under way
            self.load.under_way[id] -= 1

    async def _rename(self, id: str) -> None:
        """A plain write: whoever reads after its answer sees it, at whichever api."""
        name = f"name-{self.chance.randrange(10**6)}"
        asked = await self._order("updateVirtualMachine", {"id": id, "displayname": name})
        if asked.status != 200:
            return
        try:
            _, found = await self._ask("listVirtualMachines", {"id": id})
        except Unavailable:
            return
        shown = [vm["displayname"] for vm in found.get("virtualmachine", ())]
        if shown and shown != [name]:
            self.load.violations.append(f"stale read: machine {id} is called {shown}, not {name}")

    async def _cancel(self) -> None:
        open_jobs = [a for a in self.load.asked if a.job and a.client == self.name][-3:]
        if open_jobs:
            await self._order("cancelAsyncJob", {"jobid": self.chance.choice(open_jobs).job})

    async def _network(self) -> None:
        """One that comes, and goes again."""
        id = self._uuid()
        asked = await self._order(
            "createNetwork",
            {"zoneid": self.load.goods.zone, "name": f"n-{id[:8]}", "displaytext": "n",
             "customid": id},
        )  # fmt: skip
        if asked.status == 200:
            made = asked.answer["network"]["id"]
            gone = await self._order("deleteNetwork", {"id": made, "customjobid": self._uuid()})
            if gone.job:
                await self._follow(gone, "", "")

    # -- asking and waiting -------------------------------------------------------------------

    async def _order(self, command: str, params: dict[str, str]) -> Asked:
        """Ask until somebody answers; what was asked before, and unknown, is asked again."""
        world = self.load.world
        asked = Asked(client=self.name, command=command, params=params, began=world.loop.time())
        self.load.asked.append(asked)
        unknown = False  # whether an earlier try may have been carried out
        for attempt in range(TRIES):
            try:
                status, answer = await self._ask(command, params)
            except Unavailable as fault:
                unknown = True
                world.timeline.add(self.name, f"{command}: {fault.message}")
            else:
                text = answer.get("errortext") or answer.get("jobid") or ""
                world.timeline.add(
                    self.name, f"{command} {params.get('id', '')[:8]}: {status} {text}"
                )
                if status != 534:  # that one says: nobody can tell now
                    asked.status, asked.answer = status, answer
                    self._check_retry(asked, unknown)
                    break
                unknown = True
            await asyncio.sleep(self.chance.uniform(0.1, 1.0) * 2**attempt)
        asked.ended = world.loop.time()
        return asked

    def _check_retry(self, asked: Asked, unknown: bool) -> None:
        """What was asked before under the same ids must not be refused because of itself."""
        text = str(asked.answer.get("errortext", ""))
        id = asked.params.get("customid")
        if unknown and asked.status != 200 and id is not None and id in text:
            self.load.violations.append(f"P5 a retry of {asked.command} was refused: {text}")

    async def _ask(self, command: str, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        apis = [p.name for p in self.load.world.processes.values() if "api" in p.roles]
        return await self.load.world.ask(self.chance.choice(apis), command, params)

    async def _follow(self, asked: Asked, id: str, wanted: str) -> None:
        """Wait for the job, or go on and let somebody else wait."""
        ending = self._ended(asked.job, id, wanted, self.load.touched.get(id, 0))
        if self.chance.random() < 0.7:
            await ending
        else:
            self.waiting.append(asyncio.create_task(ending))

    async def _ended(self, job: str, id: str, wanted: str, touched: int) -> None:
        """`wanted` becomes what must be, if nobody gave another order about it meanwhile."""
        until = self.load.world.loop.time() + PATIENCE_S
        while self.load.world.loop.time() < until:
            try:
                status, answer = await self._ask("queryAsyncJobResult", {"jobid": job})
            except Unavailable:
                status, answer = 0, {}
            if status == 431:
                self.load.violations.append(f"job {job} was accepted, and now nobody knows it")
                return
            if status == 200 and answer["jobstatus"] != 0:
                load = self.load
                load.under_way[id] = load.under_way.get(id, 0) - 1
                if answer["jobstatus"] == 1 and load.touched.get(id) == touched:
                    load.expected[id] = wanted
                return
            await asyncio.sleep(0.5)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
