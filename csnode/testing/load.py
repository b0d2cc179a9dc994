"""Clients of a virtual world: they order, retry with the same token, and remember every answer.

What they order is drawn from the declarations of all commands (`draw.py`). What they remember is
independent of the cloud, and is held against it when all is quiet.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import suppress
from typing import Any

import msgspec

from csnode.api.about import Rank
from csnode.faults import Unavailable
from csnode.model.vm import VmState
from csnode.testing.draw import Draw, acting, drawn, naming
from csnode.testing.ledger import Ledger
from csnode.testing.scene import Scene
from csnode.testing.tenants import ADMIN, TENANTS, caller_of
from csnode.testing.values import AFTERWARDS, BECOMES, OPPOSITE, SCRIPTED, WEIGHTS
from csnode.testing.world import World

TRIES = 6
PICKS = 12  # commands that a client looks at until the world has what one of them needs
PATIENCE_S = 120.0  # for one job, while things go wrong
USERS = (ADMIN, *TENANTS)  # a client each; the first has another beside it for admins' commands
BOTH = 0.2  # how often a second client asks about the same object at the same time
CALLS_OFF = 0.1  # how often whoever ordered a job calls it off
WAITS = 0.4  # how often a client waits for its job before it goes on
VM = "vm"
KEEPS = {"updateVirtualMachine"}  # what leaves a machine in the state it is in
BROKE = 530


class Asked(msgspec.Struct):
    """One order, until it was accepted or refused."""

    user: str
    command: str
    params: dict[str, str]
    key: str
    began: float
    ended: float = 0.0
    status: int = 0  # 0: nobody ever answered
    answer: dict[str, Any] = {}

    @property
    def job(self) -> str:
        """The job it was given; "" if none."""
        return str(self.answer.get("jobid", "")) if self.status == 200 else ""


class Load:
    """Some clients at work, and what they were told."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.asked: list[Asked] = []
        self.ledger = Ledger()
        self.violations: list[str] = []
        self.expected: dict[str, str] = {}  # machine -> the state it must be in; "" if unknown
        self.touched: dict[str, int] = {}  # machine -> how many orders about it so far
        self.under_way: dict[str, int] = {}  # machine -> of those, how many have no known end
        self.names: dict[str, list[str]] = {}  # machine -> names that it may be given just now
        self.clients = [Client(self, user, random.Random(f"{seed} {user}")) for user in USERS]
        self.clients.append(Client(self, ADMIN, random.Random(f"{seed} rack"), Rank.ROOT_ADMIN))

    async def work(self, seconds: float) -> None:
        """Let them work for so long; then they only finish what they wait for."""
        until = self.world.loop.time() + seconds
        await asyncio.gather(*(client.work(until) for client in self.clients))

    def jobs(self) -> dict[str, Asked]:
        """Return every job that was accepted."""
        return {asked.job: asked for asked in self.asked if asked.job}

    def begin(self, vm: str) -> int:
        """Begin an order about the machine; return its number, 0 if another is under way."""
        self.expected[vm] = ""
        self.touched[vm] = self.touched.get(vm, 0) + 1
        self.under_way[vm] = self.under_way.get(vm, 0) + 1
        return self.touched[vm] if self.under_way[vm] == 1 else 0


class Client:
    """One user's program: asks, waits for its jobs now and then, and tries again."""

    def __init__(
        self, load: Load, user: str, chance: random.Random, least: Rank = Rank.USER
    ) -> None:
        """Make a client of commands that are for callers of rank `least` and above only."""
        self.load, self.user, self.chance, self.least = load, user, chance, least
        self.waiting: list[asyncio.Task[Any]] = []

    async def work(self, until: float) -> None:
        loop = self.load.world.loop
        while loop.time() < until:
            await self._turn()
            await asyncio.sleep(self.chance.uniform(0.05, 4.0))
        while self.waiting:
            ending, self.waiting = self.waiting, []
            await asyncio.wait(ending, timeout=PATIENCE_S)

    async def _turn(self) -> None:
        draw = self.draw()
        if draw is None:
            return
        if draw.target[0] and self.chance.random() < BOTH:
            other = self.chance.choice(self.load.clients)
            second = other.draw_about(*draw.target)
            if second is not None:
                await asyncio.gather(self.order(draw), other.order(second))
                return
        await self.order(draw)

    # -- what to ask -------------------------------------------------------------------------

    def scene(self) -> Scene | None:
        """Return what the user sees at some api; None while no api runs."""
        world = self.load.world
        if not (apis := world.apis()):
            return None
        view = world.role(self.chance.choice(apis), "api").view
        try:
            caller = caller_of(view, self.user)
        except Unavailable:
            return None
        return Scene(self.chance, view, caller, world.hosts)

    def draw(self) -> Draw | None:
        """Return a request that makes sense just now; None if none of some commands does."""
        if (scene := self.scene()) is None:
            return None
        mine = [d for d in acting().values()
                if self.least <= d.allows <= scene.caller.rank and d.name not in SCRIPTED
                ]  # fmt: skip
        weights = [self._weight(d.name) for d in mine]
        for declared in self.chance.choices(mine, weights, k=PICKS):
            if (draw := drawn(scene, declared)) is not None:
                return draw
        return None

    def _weight(self, command: str) -> float:
        """Weigh a command: a client for admins prefers what this world has not accepted yet."""
        weight = WEIGHTS.get(command, 1)
        if self.least is Rank.USER:
            return weight
        return weight / (1 + 3 * self.load.ledger.accepted(command))

    def draw_about(self, kind: str, id: str, command: str = "") -> Draw | None:
        """Return a request about that row: for that command, or any that may name it."""
        if (scene := self.scene()) is None:
            return None
        fitting = naming(kind, scene.caller.rank)
        fitting = [d for d in fitting if command in ("", d.name)]
        for declared in self.chance.sample(fitting, len(fitting)):
            if (draw := drawn(scene, declared, {kind: id})) is not None:
                return draw
        return None

    # -- orders ------------------------------------------------------------------------------

    async def order(self, draw: Draw) -> Asked:
        """Ask for it, and follow what comes of it, at once or aside."""
        params = dict(draw.params)
        vm = draw.rows.get(VM, "") if draw.target[0] == VM else ""
        makes_vm = draw.command == "deployVirtualMachine"
        if makes_vm and self.user == ADMIN and self.chance.random() < 0.5:
            params["customid"] = self._uuid()
        counted = bool(vm) and draw.command not in KEEPS
        number = self.load.begin(vm) if counted else 0
        renames = draw.command == "updateVirtualMachine" and "displayname" in params
        asked = await (self._rename(draw) if renames else self.send(draw.command, params))
        if makes_vm and asked.job:
            vm, counted = str(asked.answer["id"]), True
            number = self.load.begin(vm)
        if asked.job:
            await self._follow(asked.job, vm if counted else "", self._wanted(draw), number)
        elif counted and asked.status:  # done, or refused: nothing is under way
            self.load.under_way[vm] -= 1
        if asked.status == 200:
            self._afterwards(draw, asked)
        return asked

    def _wanted(self, draw: Draw) -> str:
        if draw.command == "deployVirtualMachine":
            is_off = draw.params.get("startvm") == "false"
            return VmState.STOPPED if is_off else VmState.RUNNING
        if draw.params.get("expunge") == "true":
            return "gone"
        return BECOMES.get(draw.command, "")

    async def _rename(self, draw: Draw) -> Asked:
        """Rename plainly: whoever reads after the answer sees it, at whichever api."""
        names, id, name = self.load.names, draw.target[1], draw.params["displayname"]
        names.setdefault(id, []).append(name)
        asked = await self.send(draw.command, draw.params)
        if asked.status != 200 or names[id] != [name]:  # others call it something else
            return asked
        with suppress(Unavailable):
            _, found = await self._ask("listVirtualMachines", {"id": id}, "")
            shown = [vm["displayname"] for vm in found.get("virtualmachine", ())]
            if shown and shown != [name] == names[id]:
                self.load.violations.append(f"stale read: {id} is called {shown}, not {name}")
        names[id].remove(name)
        return asked

    def _afterwards(self, draw: Draw, asked: Asked) -> None:
        """Think again after a while, as one who called a job off or put something away."""
        put_away = {n: OPPOSITE[n, v] for n, v in draw.params.items() if (n, v) in OPPOSITE}
        if asked.job and self.chance.random() < CALLS_OFF:
            self._later(0.0, 2.0, self._call_off(asked.job))
        if put_away and draw.target[0]:
            again = {**draw.params, **put_away}
            self._later(0.5, 8.0, self.send(draw.command, again))
        elif draw.command in AFTERWARDS and self.chance.random() < 0.8:
            self._later(0.5, 10.0, self._put_back(AFTERWARDS[draw.command], draw))

    def _later(self, least_s: float, most_s: float, work: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            await work

        seconds = self.chance.uniform(least_s, most_s)
        self.waiting.append(asyncio.create_task(later()))

    async def _call_off(self, job: str) -> None:
        await self.send("cancelAsyncJob", {"jobid": job})

    async def _put_back(self, command: str, draw: Draw) -> None:
        again = self.draw_about(*draw.target, command)
        if again is None and (scene := self.scene()) is not None:
            again = drawn(scene, acting()[command])
        if again is not None:
            await self.order(again)

    # -- asking and waiting -------------------------------------------------------------------

    async def send(self, command: str, params: dict[str, str]) -> Asked:
        """Ask until somebody answers; what was asked before, and unknown, is asked again."""
        world, load = self.load.world, self.load
        asked = Asked(user=self.user, command=command, params=params, key=self._uuid(),
                      began=world.loop.time())  # fmt: skip
        load.asked.append(asked)
        unknown = False  # whether an earlier try may have been carried out
        for attempt in range(TRIES):
            try:
                status, answer = await self._ask(command, params, asked.key)
            except Unavailable as fault:
                unknown = True
                world.timeline.add(self.user, f"{command}: {fault.message}")
            else:
                self._tell(asked, status, answer)
                if status != 534:  # that one says: nobody can tell now
                    asked.status, asked.answer = status, answer
                    self._check(asked, unknown)
                    break
                unknown = True
            await asyncio.sleep(self.chance.uniform(0.1, 1.0) * 2**attempt)
        asked.ended = world.loop.time()
        load.ledger.note(command, asked.status, str(asked.answer.get("errortext", "")))
        return asked

    def _tell(self, asked: Asked, status: int, answer: dict[str, Any]) -> None:
        said = " ".join(f"{k}={v[:8]}" for k, v in asked.params.items() if k != "userdata")
        text = answer.get("errortext") or answer.get("jobid") or ""
        self.load.world.timeline.add(self.user, f"{asked.command} {said}: {status} {text}")

    def _check(self, asked: Asked, unknown: bool) -> None:
        """Check that no request breaks an api.

        What was asked before is not refused because of itself.
        """
        text = str(asked.answer.get("errortext", ""))
        if asked.status == BROKE:
            self.load.violations.append(f"P5 an api broke at {asked.command} {asked.params}")
        id = asked.params.get("customid")
        if unknown and asked.status != 200 and id is not None and id in text:
            self.load.violations.append(f"P5 a retry of {asked.command} was refused: {text}")

    async def _ask(
        self, command: str, params: dict[str, str], key: str
    ) -> tuple[int, dict[str, Any]]:
        world = self.load.world
        apis = [p.name for p in world.processes.values() if "api" in p.roles]
        return await world.ask(self.chance.choice(apis), command, params, self.user, key)

    async def _follow(self, job: str, vm: str, wanted: str, number: int) -> None:
        """Wait for the job, or go on and let somebody else wait."""
        ending = self._becomes(job, vm, wanted, number)
        if self.chance.random() < WAITS:
            await ending
        else:
            self.waiting.append(asyncio.create_task(ending))

    async def _becomes(self, job: str, vm: str, wanted: str, number: int) -> None:
        """Note that `wanted` must be, if the order was alone: none came beside it, or since."""
        status = await self.ended(job)
        if status is not None:
            load = self.load
            load.under_way[vm] = load.under_way.get(vm, 0) - 1
            if status == 1 and number and load.touched.get(vm) == number:
                load.expected[vm] = wanted

    async def ended(self, job: str) -> int | None:
        """Return how the job ended, as queryAsyncJobResult says it.

        None if that is not known in time.
        """
        until = self.load.world.loop.time() + PATIENCE_S
        while self.load.world.loop.time() < until:
            try:
                status, answer = await self._ask("queryAsyncJobResult", {"jobid": job}, "")
            except Unavailable:
                status, answer = 0, {}
            if status == 431:
                self.load.violations.append(f"job {job} was accepted, and now nobody knows it")
                return None
            if status == 200 and answer["jobstatus"] != 0:
                return int(answer["jobstatus"])
            await asyncio.sleep(0.5)
        return None

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
