"""Every pair of taking something away and using it, at once: `python -m tests.sim.race`.

The pairs follow from the commands' declarations: what deletes or disables a row of a kind, and
what may name a row of that kind. Each pair plays some rounds in a cloud of its own, each with a
row that nothing uses yet, if one can be made: both requests read before either commits, in both
orders, at one api or at two. Afterwards every job has ended, none is stuck, and `verify` finds
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from csnode.api.about import Rank, fields_of
from csnode.api.command import Declaration
from csnode.api.refers import named_kind
from csnode.data.store import Store
from csnode.model.host import Host
from csnode.model.job import Job, JobState
from csnode.testing.cloud import SimCloud, sim_config
from csnode.testing.draw import Draw, acting, drawn, naming
from csnode.testing.loop import simulate
from csnode.testing.scene import Scene
from csnode.testing.tenants import ADMIN, caller_of
from csnode.testing.values import MADE, SCRIPTED, SHARED
from csnode.verify.judge import verify
from roles.api.config import ApiConfig
from roles.api.role import ApiRole
from tests.sim.at_once import Answer, at_once
from tests.sim.world import forget_outside, prepared

ROUNDS = 12
SWEPT_S = 45.0  # a router hears of new name servers by the sweep, which comes every 30 s
DRAWS = 30  # attempts at a request that fits
TAKING = ("delete", "destroy", "expunge", "disable", "declare", "prepare", "enableStorage")
"""How commands begin that take something away, or out of use."""
MAKERS: dict[str, tuple[str, ...]] = {
    "network": ("createNetwork",), "template": ("registerTemplate",),
    "vm": ("deployVirtualMachine",), "volume": ("deployVirtualMachine",),
    "nic": ("deployVirtualMachine",), "pod": ("createPod",), "cluster": ("addCluster",),
    "zone": ("createZone",), "offering": ("createServiceOffering",),
    "disk_offering": ("createDiskOffering",), "physical_network": ("createPhysicalNetwork",),
    "traffic_type": ("createPhysicalNetwork", "addTrafficType"),
    "host": ("addHost", "cancelHostMaintenance", "updateHost"), "pool": ("createStoragePool",),
}  # fmt: skip
"""What makes a new row of a kind, or one that was put away fit again. Of others there are those
that a cloud begins with."""
NEEDS: dict[str, tuple[str, ...]] = {
    "addHost": ("deleteHost",), "createStoragePool": ("deleteStoragePool",),
    "startVirtualMachine": ("deployVirtualMachine", "stopVirtualMachine"),
    "migrateVirtualMachine": ("deployVirtualMachine",),
    "migrateVirtualMachineWithVolume": ("deployVirtualMachine",),
    "deleteTemplate": ("registerTemplate",),
}  # fmt: skip
"""What must have happened before a use can be drawn, beside what made the row."""


class Pair(NamedTuple):
    """Two commands about one row of a kind. `away` with these parameters takes it away."""

    kind: str
    away: str
    params: tuple[tuple[str, str], ...]
    use: str

    @property
    def name(self) -> str:
        by = "".join(f" {name}={value}" for name, value in self.params)
        return f"{self.away}{by} + {self.use} ({self.kind})"


def pairs() -> list[Pair]:
    """All of them, by the declarations of what is installed."""
    found = {
        Pair(kind, away.name, params, use.name)
        for away in acting().values()
        if away.name not in SCRIPTED
        for kind, params in _takes_away(away)
        for use in naming(kind, Rank.ROOT_ADMIN)
    }
    return sorted(found)


def _takes_away(declared: Declaration) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """The kinds of row that the command takes away or disables, and by which parameters."""
    fields = {field.name.lower(): field for field in fields_of(declared.request)}
    kinds = {kind.kind for name, field in fields.items()
             if field.required and f"{declared.name}.{name}" not in MADE
             and (kind := named_kind(field)) is not None}  # fmt: skip
    for kind in sorted(kinds):
        if declared.name.startswith(TAKING):
            yield kind, ()
        for name in ("allocationstate", "state", "enabled"):
            if name in fields and declared.name.startswith("update"):
                value = "false" if fields[name].word == "boolean" else "Disabled"
                yield kind, ((name, value),)


class Race:
    """One pair in one cloud."""

    def __init__(self, cloud: SimCloud, apis: list[ApiRole], pair: Pair, seed: int) -> None:
        self.cloud, self.apis, self.pair = cloud, apis, pair
        self.chance = random.Random(f"{pair.name} {seed}")
        self.hosts: dict[str, str] = {}  # names of those that the cloud began with, by id
        self.told: Counter[str] = Counter()  # how the rounds ended
        self.wrong: list[str] = []

    async def play(self, rounds: int) -> None:
        """So many rounds; each begins once the one before has been judged."""
        self.hosts = {host.id: host.name for host in await self.cloud.store.find(Host)}
        for number in range(rounds):
            requests = await self._requests()
            if requests is None:
                self.told["not drawn"] += 1
                continue
            if number % 2:
                requests = requests[::-1]
            asked = [
                self._ask(api, draw) for api, draw in zip(self._turns(), requests, strict=False)
            ]
            answers = await at_once(self.cloud, *asked)
            accepted = [status == 200 for status, _ in answers]
            self.told[("both refused", "one refused", "both accepted")[sum(accepted)]] += 1
            await self._judge(requests, answers)

    def _turns(self) -> Iterator[ApiRole]:
        return itertools.cycle(self.apis)

    async def _requests(self) -> tuple[Draw, Draw] | None:
        """A row that may be taken away, one that was just made if possible, and both requests."""
        await self._make()
        for _ in range(DRAWS):
            away = self._drawn(self.pair.away, {})
            if away is None or (row := away.rows.get(self.pair.kind)) is None:
                continue
            away = replace(away, params=away.params | dict(self.pair.params))
            use = self._drawn(self.pair.use, {self.pair.kind: row})
            if use is not None:
                return away, use
        return None

    async def _make(self) -> None:
        makers = (*MAKERS.get(self.pair.kind, ()), *NEEDS.get(self.pair.use, ()))
        for maker in (*makers, *MAKERS["network"]):
            if (draw := self._drawn(maker, {})) is not None:
                _, answer = await self._ask(self.apis[0], draw)
                await self._ended([str(answer.get("jobid", ""))])
                await self._end_all()

    def _drawn(self, command: str, about: dict[str, str]) -> Draw | None:
        view = self.apis[0].view
        scene = Scene(self.chance, view, caller_of(view, ADMIN), self.hosts)
        return drawn(scene, acting()[command], about)

    async def _ask(self, api: ApiRole, draw: Draw) -> Answer:
        asked = {"command": draw.command, "response": "json", **draw.params}
        await api.view.fresh()
        reply = await api.answer(asked, caller=caller_of(api.view, ADMIN))
        return reply.status, next(iter(msgspec.json.decode(reply.body).values()))

    # -- afterwards --------------------------------------------------------------------------

    async def _judge(self, requests: tuple[Draw, ...], answers: list[Answer]) -> None:
        said = "; ".join(
            f"{draw.command} {draw.params}: {status} {answer.get('errortext', '')}"
            for draw, (status, answer) in zip(requests, answers, strict=True)
        )
        if any(status in (530, 500) for status, _ in answers):
            self.wrong.append(f"{self.pair.name}: an unexpected error: {said}")
        if not await self._end_all():
            self.wrong.append(f"{self.pair.name}: a job does not end: {said}")
        stuck = await self.cloud.store.find(Job, state=JobState.STUCK)
        self.wrong += [f"{self.pair.name}: stuck: {job.fault}: {said}" for job in stuck]
        self.wrong += [f"{self.pair.name}: {what}: {said}" for what in await self._findings()]

    async def _findings(self) -> list[str]:
        """What `verify` finds, once the sweeps have gone round."""
        bus, store = self.cloud.node.bus, self.cloud.store
        end = asyncio.get_running_loop().time() + SWEPT_S
        while True:
            found = (await verify(bus, store, 1.5)).findings
            if not found or asyncio.get_running_loop().time() > end:
                return [f"{f.check}: {f.what}" for f in found]
            await asyncio.sleep(1.0)

    async def _ended(self, jobs: list[str]) -> None:
        for job in filter(None, jobs):
            await self.cloud.wait(job)

    async def _end_all(self) -> bool:
        """Whether no job is open any more, ten minutes from now at the latest."""
        for _ in range(1200):
            if not any(job.open for job in await self.cloud.store.find(Job)):
                return True
            await asyncio.sleep(0.5)
        return False


@asynccontextmanager
async def second_api(cloud: SimCloud) -> AsyncGenerator[ApiRole]:
    """Another api, as another process would play it."""
    node, bus = replace(cloud.node.node, name="second"), cloud.node.bus
    api = ApiRole(ApiConfig(listen=""), node, bus, Store(bus, "api", "second"))
    async with asynccontextmanager(api.opened)():
        yield api


async def raced(folder: Path, pair: Pair, rounds: int, seed: int, apis: int, url: str = "") -> Race:
    """The pair's rounds in a cloud of its own; on PostgreSQL if a URL is given."""
    forget_outside()
    more = {"data": {"url": url, "inline": False, "path": ""}} if url else {}
    if pair.use == "createStoragePool":
        more["storage"] = {"name": SHARED, "shared": True}  # that one may be removed, and made anew
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(SimCloud(sim_config(folder, 3, **more), seed))
        await prepared(cloud)
        played = [cloud.role("api")]
        if apis > 1:
            played.append(await stack.enter_async_context(second_api(cloud)))
        race = Race(cloud, played, pair, seed)
        await race.play(rounds)
        return race


def main() -> int:
    """Play every pair that is asked for; exit 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--apis", type=int, default=1, choices=(1, 2))
    parser.add_argument("--postgresql", action="store_true", help="in real time, on a real server")
    parser.add_argument("--only", default="", help="pairs whose name has this in it")
    parser.add_argument("--part", default="0/1", help="for several at once: 0/2 is the even ones")
    asked = parser.parse_args()
    part, parts = map(int, asked.part.split("/"))
    chosen = [pair for pair in pairs() if asked.only in pair.name][part::parts]
    told: Counter[str] = Counter()
    wrong: list[str] = []
    never: list[str] = []
    for pair in chosen:
        race = _played(pair, asked.rounds, asked.apis, asked.postgresql)
        told += race.told
        wrong += race.wrong
        never += [pair.name] * (race.told.keys() == {"not drawn"})
        print(f"{pair.name}: {dict(race.told)}", *race.wrong, sep="\n    ", flush=True)
    print(f"{len(chosen)} pairs, {dict(told)}, {len(wrong)} wrong", *never, sep="\nnever drawn: ")
    return 1 if wrong else 0


def _played(pair: Pair, rounds: int, apis: int, postgresql: bool) -> Race:
    with tempfile.TemporaryDirectory() as folder:
        if not postgresql:
            return simulate(raced(Path(folder), pair, rounds, 0, apis))
        from tests import servers

        with servers.postgres() as server:
            return asyncio.run(raced(Path(folder), pair, rounds, 0, apis, server.url()))


if __name__ == "__main__":
    sys.exit(main())
