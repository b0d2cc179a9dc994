"""One rolling run: load through a balancer, process after process restarted, then the judgement."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from csnode.faults import Fault
from csnode.testing.patience import patient
from csnode.types import Struct
from roles.data import sqlite
from roles.data.migrate import go_back
from tests.bench.client import Api, networks, prepare
from tests.system.chaos.client import Client
from tests.system.chaos.figures import CLEAN
from tests.system.chaos.history import NEVER, orders
from tests.system.chaos.judge import judgement
from tests.system.chaos.load import Owner, Town
from tests.system.chaos.record import Request, now
from tests.system.chaos.run import END_S, MEMORY_MIB, NETWORKS, OWNERS, URL, Chaos
from tests.system.chaos.split import HOSTS
from tests.system.rolling.balancer import Balancer
from tests.system.rolling.cloud import LEAVE_S, OURS, READY_S, RollingCloud, Version

UP = (
    "api-1", "api-2", "orchestrator-1", "orchestrator-2", "data", "fabric", "monitor",
    "compute", "network", "storage",
)  # fmt: skip
DOWN = tuple(reversed(UP))
LATE = (*UP[-3:], *UP[2:4], *UP[:2], *UP[5:7], "data")
NO_SUCH = 431  # what was being destroyed while it was asked after


class Turn(Struct):
    """One process restarted, as which version; `schema`: the database is taken there meanwhile."""

    process: str
    version: Version = OURS
    schema: str = ""


class Turned(Struct):
    """What a turn was like for those who asked meanwhile. Times in seconds."""

    process: str
    version: str
    took_s: float
    away_s: float  # from its end to its being ready again
    requests: int
    slowest_s: float


class Report(Struct):
    """What a run came to."""

    seconds: float
    requests: int
    failed: tuple[str, ...]  # calls that were not answered as they should have been
    per_s: float
    slowest_s: float
    slowest: str
    median_s: float
    accepted: int  # jobs
    ended: int
    failed_jobs: tuple[str, ...]
    findings: tuple[str, ...]
    verify: str
    turns: tuple[Turned, ...]
    fallen: tuple[str, ...]
    errors: dict[str, tuple[str, ...]]

    @property
    def good(self) -> bool:
        """Whether nobody noticed."""
        bad = (self.failed, self.failed_jobs, self.findings, self.fallen)
        clean = self.verify == CLEAN and self.ended == self.accepted
        return clean and not any(bad)


class Rolling(Chaos):
    """The chaos run's load and judge, with an orderly restart in place of kill -9."""

    def __init__(
        self,
        folder: Path,
        turns: Sequence[Turn],
        *,
        begin: Version = OURS,
        url: str = "",
        rate: float = 50.0,
        rest_s: float = 2.0,
        seed: int = 1,
    ) -> None:
        """`url`: of a PostgreSQL, for two data processes; `rate`: requests a second; `rest_s`:
        between two turns."""
        super().__init__(folder, 0.0, seed)
        self._turns, self._begin, self._rate, self._rest_s = turns, begin, rate, rest_s
        self._url = url
        self.turned: list[tuple[Turn, float, float, float]] = []

    async def roll(self) -> Report:
        """Raises TimeoutError or AssertionError if the cloud does not come up at all."""
        with RollingCloud(self.folder, self._begin, self._url) as cloud:
            self.cloud = self._rolling = cloud
            cloud.heal()
            await asyncio.to_thread(cloud.wait_ready)
            with Balancer(self.folder, cloud.ports) as self._balancer:
                pool = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(connector=pool) as self._session:
                    findings = await self._rolled()
                    verify = await self._verified()
            errors = {name: tuple(found) for name, found in cloud.broken().items()}
        self.record.write(self.folder)
        return self._summary(findings, verify, errors)

    async def _rolled(self) -> tuple[str, ...]:
        town = await self._town()
        self._began = now()
        await self._under_load(town)
        self._ended = now()
        self._asked = list(self.record.requests)
        await self._quiet()
        listed, _ = await self._agreed()
        await self._last_questions(listed)
        found = judgement(self.record, listed, self._rolling.outside())
        return tuple(f"{f.check} {f.object}: {f.what}" for f in found)

    async def _town(self) -> Town:
        await asyncio.to_thread(self._wait_balanced)
        async with Api(self._balancer.url) as api:
            ready = await prepare(api, HOSTS, URL, MEMORY_MIB)
            nets = await networks(api, ready["zoneid"], NETWORKS)
        return Town(dict(ready), nets, random.Random(self.seed))

    def _wait_balanced(self) -> None:
        from tests.system.processes import wait_for

        for api in self._rolling.ports:
            wait_for(lambda api=api: self._balancer.takes(api), 20, f"{api} gets requests")

    def _client(self, number: int) -> Client:
        return Client(number, {"cloud": self._balancer.url}, self.record, self._session)

    # -- load --------------------------------------------------------------------------------

    async def _under_load(self, town: Town) -> None:
        working = [asyncio.create_task(Owner(self._client(n), town).work()) for n in range(OWNERS)]
        pacing = asyncio.create_task(self._pace(town))
        try:
            await asyncio.sleep(self._rest_s)
            for turn in self._turns:
                await self._take(turn)
                await asyncio.sleep(self._rest_s)
        finally:
            town.stopping = True
        await pacing
        _, late = await asyncio.wait(working, timeout=patient(END_S))
        for task in late:  # its job never ends: the judge will say so
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)

    async def _pace(self, town: Town) -> None:
        """So many requests a second in all, whether or not the earlier ones are answered."""
        looking: set[asyncio.Task[Request]] = set()
        numbers = itertools.count(OWNERS)
        due, before, known = 0.0, now(), len(self.record.requests)
        while not town.stopping:
            moment, sent = now(), len(self.record.requests) + len(looking)
            due = max(0.0, due + self._rate * (moment - before) - (sent - known))  # no credit
            for _ in range(int(due)):
                client = self._client(next(numbers))
                look = asyncio.create_task(client.ask("listVirtualMachines", listall="true"))
                looking.add(look)
                look.add_done_callback(looking.discard)
            due -= int(due)
            before, known = moment, len(self.record.requests) + len(looking)
            await asyncio.sleep(0.02)
        await asyncio.gather(*looking)

    # -- turns -------------------------------------------------------------------------------

    async def _take(self, turn: Turn) -> None:
        """Restart one process in good order, as an operator would."""
        cloud, name, began = self._rolling, turn.process, now()
        lingers = cloud.version[name].lingers
        if name in cloud.ports and not lingers:
            await asyncio.to_thread(self._balancer.drain, name)
            await asyncio.sleep(0.5)
        async with asyncio.timeout(patient(LEAVE_S + READY_S)):
            code = await asyncio.to_thread(cloud.leave, name)
            gone = now()
            if code:
                cloud.fallen.append(f"{name} ended with {code}")
            cloud.version[name] = turn.version
            if turn.schema:
                await asyncio.to_thread(schema_back, self.folder, turn.schema)
            cloud.play(name)
            await asyncio.to_thread(cloud.wait_ready, READY_S, (name,))
        if name in cloud.ports:
            if not lingers:
                await asyncio.to_thread(self._balancer.ready, name)
            await asyncio.to_thread(self._wait_balanced)
        self.turned.append((turn, began, gone, now()))

    # -- afterwards --------------------------------------------------------------------------

    def _summary(
        self, findings: tuple[str, ...], verify: str, errors: dict[str, tuple[str, ...]]
    ) -> Report:
        known = [o for o in orders(self.record).values() if o.accepted != NEVER]
        asked = self._asked
        slowest = max(asked, key=lambda r: r.completed - r.invoked)
        times = sorted(r.completed - r.invoked for r in asked)
        seconds = self._ended - self._began
        return Report(
            seconds=seconds,
            requests=len(asked),
            failed=tuple(map(_told, failures(asked))),
            per_s=len(asked) / seconds,
            slowest_s=times[-1],
            slowest=slowest.command,
            median_s=times[len(times) // 2],
            accepted=len(known),
            ended=sum(o.ended != NEVER for o in known),
            failed_jobs=tuple(f"{n} x {why}" for why, n in Counter(self._faults()).items()),
            findings=findings,
            verify=verify,
            turns=tuple(_turned(*t, asked) for t in self.turned),
            fallen=tuple(self._rolling.fallen),
            errors=errors,
        )


def failures(asked: Sequence[Request]) -> list[Request]:
    """Those that were not answered as they should have been.

    A machine may be unknown only once somebody has ordered it to be destroyed.
    """
    ends: dict[str, float] = {}
    for request in asked:
        if request.command == "destroyVirtualMachine":
            id = request.params["id"]
            ends[id] = min(request.invoked, ends.get(id, NEVER))

    def gone(request: Request) -> bool:
        ended = ends.get(request.params.get("id", ""), NEVER)
        return request.status == NO_SUCH and ended < request.completed

    return [r for r in asked if r.kind != "ok" and not gone(r)]


def schema_back(folder: Path, to: str) -> None:
    """Take the database of a data service that has stopped back to that schema."""

    async def work() -> None:
        async with sqlite.opened(str(folder / "state" / "csnode.db"), True) as database:
            go_back(database, to)

    try:
        asyncio.run(work())
    except Fault as fault:
        raise AssertionError(f"the schema cannot be taken back: {fault.message}") from fault


def _turned(turn: Turn, began: float, gone: float, ready: float, asked: list[Request]) -> Turned:
    there = [r for r in asked if r.completed >= began and r.invoked <= ready]
    return Turned(
        process=turn.process,
        version=turn.version.name,
        took_s=ready - began,
        away_s=ready - gone,
        requests=len(there),
        slowest_s=max((r.completed - r.invoked for r in there), default=0.0),
    )


def _told(request: Request) -> str:
    text = str(request.answer.get("errortext", ""))[:200]
    took = request.completed - request.invoked
    return f"{request.invoked:.2f} {request.command} {request.status} after {took:.2f} s: {text}"
