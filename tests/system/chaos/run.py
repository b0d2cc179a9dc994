"""One run: set up, load and kill, heal, wait until all is quiet, judge."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import to_builtins

from csnode.testing.patience import Patience, patient
from tests.bench.client import Api, networks, prepare
from tests.system.chaos.client import Client
from tests.system.chaos.figures import CLEAN, Progress, Report, rows
from tests.system.chaos.history import NEVER, QUERY, Finding, orders
from tests.system.chaos.judge import judgement
from tests.system.chaos.killer import Killer
from tests.system.chaos.load import Owner, Town
from tests.system.chaos.machine import Machine
from tests.system.chaos.probe import Probe
from tests.system.chaos.record import Record, now
from tests.system.chaos.remains import Listed, hardware
from tests.system.chaos.split import HOSTS, SplitCloud
from tests.system.processes import CSNODE

OWNERS, NETWORKS, MEMORY_MIB = 6, 3, 64
URL = "http://images.example/chaos.qcow2"
END_S, QUIET_S, AGREE_S = 90.0, 90.0, 75.0  # of a machine at rest
JOBS_S = 60.0  # the same: how much longer than asked a storm may take to have its jobs
PAGE = 500
LISTS = {
    "machines": ("listVirtualMachines", "virtualmachine"),
    "volumes": ("listVolumes", "volume"),
    "networks": ("listNetworks", "network"),
}
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(\.\d+){3}")


class Chaos:
    """One run in one folder."""

    def __init__(
        self,
        folder: Path,
        seconds: float,
        seed: int,
        kill_every_s: float = 0.0,
        only: str = "",
        jobs: int = 0,
    ) -> None:
        """The storm lasts so many seconds, and on until that many jobs were accepted."""
        self.folder, self.seconds, self.seed = folder, seconds, seed
        self._kill_every_s, self._only, self._jobs = kill_every_s, only, jobs
        self.record = Record()

    async def run(self) -> Report:
        """Raises TimeoutError if the cloud does not come up at all."""
        with SplitCloud(self.folder) as cloud:
            self.cloud = cloud
            cloud.heal()
            await asyncio.to_thread(cloud.wait_ready)
            pool = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=pool) as session:
                self._session = session
                town = await self._town()
                began = now()
                await self._storm(town)
                self._stormed = now() - began
                self._quiet_s = await self._quiet()
                listed, agree_s = await self._agreed()
                await self._last_questions(listed)
            verify = await self._verified()
            errors = {name: len(found) for name, found in cloud.broken().items()}
            outside = cloud.outside()
        self.record.write(self.folder)
        findings = judgement(self.record, listed, outside)
        return self._report(findings, agree_s, verify, errors)

    async def _town(self) -> Town:
        async with Api(next(iter(self.cloud.endpoints.values()))) as api:
            ready = await prepare(api, HOSTS, URL, MEMORY_MIB)
            nets = await networks(api, ready["zoneid"], NETWORKS)
        return Town(dict(ready), nets, random.Random(self.seed))

    def _client(self, number: int) -> Client:
        return Client(number, self.cloud.endpoints, self.record, self._session)

    # -- the storm -------------------------------------------------------------------------

    async def _storm(self, town: Town) -> None:
        """Load and kills for so long; then everything is started, and what was begun is ended."""
        self.probe = Probe(self.cloud.endpoints, self._session)
        self.machine = Machine()
        chance = random.Random(self.seed + 1)
        killer = Killer(self.cloud, self.record, chance, self._kill_every_s, self._only)
        owners = [Owner(self._client(n), town) for n in range(OWNERS)]
        probing = asyncio.create_task(self.probe.ask())
        measuring = asyncio.create_task(self.machine.measure())
        working = [asyncio.create_task(owner.work()) for owner in owners]
        killing = asyncio.create_task(killer.work())
        await self._enough([probing, measuring, killing, *working])
        await _ended(killing)
        self.cloud.heal()
        town.stopping = True
        _, late = await asyncio.wait(working, timeout=patient(END_S))
        for task in late:  # its job never ends: the judge will say so
            await _ended(task)
        self._healed = now()
        await _ended(measuring)
        await _ended(probing)
        await self.probe.close()
        for task in working:
            if not task.cancelled():
                task.result()

    async def _enough(self, storming: list[asyncio.Task[None]]) -> None:
        """Until the storm has done what it was for, or one of its tasks broke."""
        patience = Patience(self.seconds + JOBS_S)
        ended, _ = await asyncio.wait(
            storming, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        while not ended and not patience.over and self._accepted() < self._jobs:
            ended, _ = await asyncio.wait(
                storming, timeout=1.0, return_when=asyncio.FIRST_COMPLETED
            )

    def _accepted(self) -> int:
        return sum(order.accepted != NEVER for order in orders(self.record).values())

    # -- afterwards ------------------------------------------------------------------------

    async def _quiet(self) -> float:
        """Seconds until no job is open; at most QUIET_S."""
        asker, began, patience = self._client(OWNERS), now(), Patience(QUIET_S)
        while (await self._open_jobs(asker)) and not patience.over:
            self.cloud.heal()
            await asyncio.sleep(0.5)
        return now() - began

    async def _open_jobs(self, asker: Client) -> tuple[str, ...]:
        found: list[str] = []
        for page in range(1, 1000):
            told = await asker.insist("listAsyncJobs", listall="true", page=page, pagesize=PAGE)
            jobs = told.answer.get("asyncjobs", [])
            found += [job["jobid"] for job in jobs if not job["jobstatus"]]
            if len(jobs) < PAGE:
                break
        return tuple(found)

    async def _agreed(self) -> tuple[Listed, float]:
        """The lists, once they agree with the hardware; as they are if they never do."""
        asker, began, patience = self._client(OWNERS), now(), Patience(AGREE_S)
        while True:
            found = {name: await self._all(asker, *what) for name, what in LISTS.items()}
            listed = Listed(**found, open_jobs=await self._open_jobs(asker))
            differs = [*hardware(listed, self.cloud.outside()), *listed.open_jobs]
            if not differs or patience.over:
                return listed, now() - began
            await asyncio.sleep(1.0)

    async def _all(self, asker: Client, command: str, key: str) -> dict[str, dict[str, Any]]:
        told = await asker.insist(command, listall="true", page=1, pagesize=PAGE)
        found = {row["id"]: row for row in told.answer.get(key, [])}
        if len(found) < told.answer.get("count", 0):
            raise AssertionError(f"more than {PAGE} rows of {command}")
        return found

    async def _last_questions(self, listed: Listed) -> None:
        """About every job that was accepted, and every machine that anybody heard of."""
        asker = self._client(OWNERS)
        known = orders(self.record)
        for job in known:
            await asker.insist(QUERY, jobid=job)
        for machine in {order.machine for order in known.values()} | listed.machines.keys():
            await asker.insist("listVirtualMachines", id=machine)

    async def _verified(self) -> str:
        """What csnode itself finds; CLEAN if it looked at the cloud and found nothing."""
        process = await asyncio.create_subprocess_exec(
            str(CSNODE), "--config", str(self.cloud.file), "verify", "--output", "json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, told = await asyncio.wait_for(process.communicate(), patient(60))
        return verdict(process.returncode, said, told)

    def _report(
        self, findings: list[Finding], agree_s: float, verify: str, errors: dict[str, int]
    ) -> Report:
        known = orders(self.record)
        taken = [order for order in known.values() if order.accepted != NEVER]
        lost = {f.object for f in findings if f.check in ("job-lost", "job-never-ended")}
        progress = Progress.read(self.folder / "state" / "csnode.db")
        return Report(
            seconds=self._stormed,
            seed=self.seed,
            requests=len(self.record.requests),
            unknown=sum(r.kind == "unknown" for r in self.record.requests),
            accepted=len(taken),
            ended=sum(order.ended != NEVER for order in taken),
            failed=sum(order.ended != NEVER and not order.well for order in taken),
            lost=len(lost),
            refused=sum(order.refused for order in known.values()),
            quiet_s=self._quiet_s,
            agree_s=agree_s,
            rows=tuple(rows(self.record, known, lost, self.probe, progress, self._healed)),
            findings=tuple(to_builtins(finding) for finding in findings),
            faults=self._faults(),
            fallen=tuple(self.cloud.fallen),
            errors=errors,
            verify=verify,
            machine=self.machine.pace(),
        )

    def _faults(self) -> dict[str, int]:
        """Why jobs failed, ids and addresses left out."""
        found: dict[str, str] = {}
        for query in self.record.of(QUERY):
            if query.answer.get("jobstatus") == 2:
                text = str(query.answer.get("jobresult", {}).get("errortext"))
                found[query.params["jobid"]] = _ID.sub("ID", text)
        return dict(Counter(found.values()).most_common())


def verdict(code: int | None, said: bytes, told: bytes) -> str:
    """CLEAN, if `csnode verify` ended well, looked at something, and found nothing."""
    try:
        report = msgspec.json.decode(said)
        looked, found = sum(report["looked at"].values()), report["findings"]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        looked, found = 0, ["no report"]
    if code == 0 and looked and not found:
        return CLEAN
    return f"{code}, looked at {looked}: {(told + said).decode(errors='replace')[-4000:]}"


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel it; raise what it raised, if it broke by itself."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
