"""One seed, survived: a virtual world of hosts that fail, then left in peace, then judged.

The hardware is the judge of the one thing that may never be: a machine that is on at two hosts.
It is looked at whenever a machine comes on anywhere, so no moment is missed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from csnode.drivers.hypervisor import Hypervisor
from csnode.faults import Unavailable
from csnode.model.host import Host
from csnode.model.job import Job, JobState
from csnode.model.orders import Action, StartVm
from csnode.model.vm import Vm, Want
from csnode.testing.calamity import Calamity, Fate, drifts, forecast, machines_of, victims_of
from csnode.testing.ledger import Ledger
from csnode.testing.loop import simulate
from csnode.testing.trial import Outcome, miscounted, until_none
from csnode.testing.values import URL
from csnode.testing.world import Shape, World
from csnode.types import Power
from csnode.verify.judge import verify

HOSTS = ("host-1", "host-2", "host-3")
GUESTS = ("compute", "network", "storage")
CONTROL = ("api", "orchestrator", "monitor", "fabric")
_HOSTING: Shape = dict.fromkeys(HOSTS, GUESTS) | {f"{h}.keeper": ("keeper",) for h in HOSTS}
APART: Shape = {
    "data": ("data",), "api-1": ("api",), "orc-1": ("orchestrator",), "orc-2": ("orchestrator",),
    "watch-1": ("monitor", "fabric"), "watch-2": ("monitor", "fabric"), **_HOSTING,
}  # fmt: skip
PAIR: Shape = {"data": ("data",), "ctl-1": CONTROL, "ctl-2": CONTROL, **_HOSTING}
AMONG: Shape = {
    "data": ("data",), "host-1.ctl": CONTROL, "host-2.ctl": CONTROL, **_HOSTING,
}  # fmt: skip
"""Control processes on the hosts themselves: what cuts a host off may cut its judge off."""
SHAPES = (PAIR, APART, AMONG)
FENCERS = ("", "", "", "", "manual")  # of a host; "": as configured, the simulated switch
DRAWN = (Action.DEPLOY, Action.STOP, Action.START, Action.START, Action.REBOOT)
WORK_S = 45.0
RUNS_AGAIN_S, CLEAN_S = 240.0, 180.0


def survived(
    seed: int, calamities: Sequence[Calamity] | None = None, shape: Shape | None = None
) -> Outcome:
    """Run the world of that seed; calamities and shape follow from the seed unless given."""
    shape = shape or SHAPES[seed % len(SHAPES)]
    drawn = forecast(seed, list(shape), HOSTS) if calamities is None else calamities
    return simulate(endured(seed, prepared(), shape, hardware(seed), lambda f: f.strike(drawn)))


async def endured(
    seed: int,
    image: bytes,
    shape: Shape,
    sections: dict[str, dict[str, Any]],
    strike: Callable[[Fate], Awaitable[None]],
    calms_s: float = 0.0,
) -> Outcome:
    """Play the world of that seed and shape, so configured, through what `strike` does to it.

    `calms_s` is how long what was struck goes on to settle after everything is put right.
    """
    world = World(seed, shape, image, sections)
    world.drifts = drifts(seed, machines_of(shape))
    async with world:
        with Eye(world):
            fate, owner = Fate(world), Owner(world, seed)
            await _fencers(world, seed)
            await owner.begin()
            working = asyncio.create_task(owner.work(WORK_S))
            await strike(fate)
            await working
            await fate.relent()
            if calms_s:
                await asyncio.sleep(calms_s)
            violations = await judged(world, owner)
            fate.leave()
            jobs = await world.store.find(Job)
            owner.ledger.note_jobs(jobs)
            return Outcome(
                seed=seed,
                violations=tuple(violations),
                story=world.timeline.text(),
                digest=world.timeline.digest(),
                jobs=len(jobs),
                seconds=world.loop.moment,
                ledger=owner.ledger,
            )


def hardware(seed: int) -> dict[str, dict[str, Any]]:
    """Return the settings of how slow this world's hardware is; all hosts reach the one pool."""
    chance = random.Random(f"hardware {seed}")

    def slow() -> float:
        return chance.choice((0.0, 0.05, 0.5, chance.uniform(0.0, 4.0)))

    return {
        "fabric": {"fence": "sim"},
        "compute": {"options": {"latency_s": slow()}},
        "network": {"options": {"latency_s": slow()}},
        "storage": {"name": "san", "shared": True, "options": {"latency_s": slow() / 4}},
    }


async def _fencers(world: World, seed: int) -> None:
    """Let some hosts be fenced by hand; the one that is sure to fail has its switch."""
    chance = random.Random(f"fencers {seed}")
    change = world.store.change()
    for name in HOSTS:
        if (kind := chance.choice(FENCERS)) and name != victims_of(seed, HOSTS)[0]:
            change.update(Host, world.power.host(name), ha_provider=kind)
    if change.items:
        await change.commit()


class Eye:
    """Sees every machine that comes on, and whether it is on somewhere else too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._outsides = {
            name: world.outside(Hypervisor, world.power.host(name))
            for name in machines_of(world.processes)
        }
        self._told: set[str] = set()

    def __enter__(self) -> Eye:
        for outside in self._outsides.values():
            outside.listeners[self._seen] = None
        return self

    def __exit__(self, *_: object) -> None:
        for outside in self._outsides.values():
            outside.listeners.pop(self._seen, None)

    def _seen(self, sighting: Any) -> None:
        """Live moves do not happen in these worlds: what is on at two is on twice."""
        if sighting.power is not Power.ON or sighting.vm in self._told:
            return
        on = hosts_of(self._outsides, sighting.vm)
        if len(on) > 1:
            self._told.add(sighting.vm)
            self._world.broken.append(f"P2 machine {sighting.vm} runs on {' and '.join(on)}")
            self._world.timeline.add("world", self._world.broken[-1])


def hosts_of(outsides: dict[str, Any], vm: str) -> list[str]:
    """Return the hosts, by name, that really run the machine."""
    return [
        name
        for name, outside in outsides.items()
        if (machine := outside.machines.get(vm)) and machine.power is Power.ON
    ]


class Owner:
    """Somebody who has machines, some of them to be kept running, and orders about them."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(f"owner {seed}")
        self.ledger = Ledger()
        self.machines: dict[str, bool] = {}  # id -> whether it is kept, and nobody stopped it
        self._goods: dict[str, str] = {}
        self._offerings: dict[bool, str] = {}

    async def begin(self) -> None:
        """Start some machines before anything happens."""
        await self._learn()
        jobs = [await self._deploy() for _ in range(self.chance.randint(3, 6))]

        async def all_run() -> bool:
            return not any([(await self.world.store.get(Job, job)).open for job in jobs])

        assert await self.world.until(all_run, 120)
        for job in jobs:
            assert (await self.world.store.get(Job, job)).state is JobState.DONE

    async def work(self, seconds: float) -> None:
        """Order something now and then, of whichever api answers."""
        end = self.world.loop.moment + seconds
        while self.world.loop.moment < end:
            await asyncio.sleep(self.chance.uniform(2.0, 12.0))
            with suppress(Unavailable):
                await self._order()

    async def _order(self) -> None:
        what = self.chance.choice(DRAWN)
        stopped = [id for id, kept in self.machines.items() if not kept]
        some = stopped if what is Action.START and stopped else list(self.machines)
        id = self.chance.choice(sorted(some))
        if what is Action.DEPLOY:
            await self._deploy()
        elif what is Action.REBOOT:
            await self._send("rebootVirtualMachine", {"id": id})
        elif what is Action.STOP:
            self.machines[id] = False  # from now on it may be stopped, whatever is answered
            await self._send("stopVirtualMachine", {"id": id, "forced": "true"})
        else:
            await self._send("startVirtualMachine", {"id": id})

    async def _deploy(self) -> str:
        kept = self.chance.random() < 0.75
        params = {**self._goods, "serviceofferingid": self._offerings[kept]}
        _, answer = await self._send("deployVirtualMachine", params)
        if id := answer.get("id"):
            self.machines[id] = kept
        return str(answer.get("jobid", ""))

    async def _send(self, command: str, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Ask for something once, and count what was answered."""
        status, answer = 0, dict[str, Any]()
        try:
            status, answer = await self._ask(command, params)
        finally:
            self.ledger.note(command, status, str(answer.get("errortext", "")))
        return status, answer

    async def _ask(self, command: str, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        apis = self.world.apis()
        if not apis:
            raise Unavailable("no api answers")
        status, answer = await self.world.ask(self.chance.choice(apis), command, params)
        text = answer.get("errortext") or answer.get("jobid") or ""
        self.world.timeline.add("owner", f"{command} {params.get('id', '')[:8]}: {status} {text}")
        return status, answer

    async def _learn(self) -> None:
        async def first(command: str, **params: str) -> str:
            _, answer = await self._ask(command, params)
            return str(next(v for k, v in answer.items() if k != "count")[0]["id"])

        self._goods = {
            "zoneid": await first("listZones"),
            "templateid": await first("listTemplates", templatefilter="all"),
        }
        self._offerings = {
            True: await first("listServiceOfferings", name="kept"),
            False: await first("listServiceOfferings", name="Small Instance"),
        }


# -- judging -----------------------------------------------------------------------------------


async def judged(world: World, owner: Owner) -> list[str]:
    """Return what the cloud promised and did not keep, now that every host is well."""

    async def missed() -> list[str]:
        jobs = await world.store.find(Job)
        stay = [j for j in jobs if j.open or j.state is JobState.STUCK]
        wrong = [f"P1 job {j.id} ({j.verb}) does not end: {j.state}, {j.started}" for j in stay]
        return wrong + await _not_running(world, owner, jobs)

    async def found() -> list[str]:
        report = await verify(world.bus, world.store)
        return [f"{f.promise} {f.check}: {f.what}" for f in report.findings]

    wrong = await until_none(world, missed, RUNS_AGAIN_S, 1.0)
    wrong += await until_none(world, found, CLEAN_S, 15.0)
    # a slow switch may cut the power of a host that is well again by now: once more, with patience
    wrong += await until_none(world, missed, RUNS_AGAIN_S, 1.0)
    wrong += miscounted(world)
    return [f"broken: {said}" for said in world.broken] + list(dict.fromkeys(wrong))


async def _not_running(world: World, owner: Owner, jobs: Sequence[Job]) -> list[str]:
    """Check that every machine that its owner wants running runs, on one host: its row's.

    One whose owner had a start of it fail was told that it is stopped.
    """
    told = {j.object_id for j in jobs if j.state is JobState.FAILED and _is_owners_start(j)}
    outsides = {h: world.outside(Hypervisor, world.power.host(h)) for h in HOSTS}
    names = {world.power.host(h): h for h in HOSTS}
    wrong: list[str] = []
    for vm in await world.store.find(Vm):
        on = hosts_of(outsides, vm.id)
        should = [names[vm.host]] if vm.host else []
        if vm.want is Want.RUNNING and not vm.host:
            wrong.append(f"P4 machine {vm.id} is to run, and has no host: {vm.trouble}")
        if on != should:
            wrong.append(f"P2 machine {vm.id} is on {on}, and its row says {should}")
        kept = owner.machines.get(vm.id) and vm.started and vm.id not in told
        if kept and vm.want is not Want.RUNNING:
            wrong.append(f"P4 machine {vm.id} was to be kept running, and is wanted {vm.want}")
    return wrong


def _is_owners_start(job: Job) -> bool:
    return job.verb == StartVm.verb() and not job.order.get("ha")


# -- what every world begins with --------------------------------------------------------------


@cache
def prepared() -> bytes:
    """Return the database of a cloud with a template, and an offering whose machines are kept."""
    return simulate(_prepare())


async def _prepare() -> bytes:
    async with World(0, PAIR, sections=hardware(0)) as world:

        async def first(command: str, **params: str) -> dict[str, Any]:
            status, answer = await world.ask("ctl-1", command, params)
            assert status == 200, answer
            return dict(next(v for k, v in answer.items() if k != "count")[0])

        zone, os = (await first("listZones"))["id"], (await first("listOsTypes"))["id"]
        about = {"name": "tiny", "displaytext": "tiny", "url": URL, "format": "QCOW2",
                 "hypervisor": "KVM", "zoneid": zone, "ostypeid": os}  # fmt: skip
        await world.ask("ctl-1", "registerTemplate", about)
        await world.ask(
            "ctl-1", "createServiceOffering",
            {"name": "kept", "displaytext": "kept", "cpunumber": "1", "cpuspeed": "500",
             "memory": "512", "offerha": "true"},
        )  # fmt: skip

        async def is_ready() -> bool:
            return bool((await first("listTemplates", templatefilter="all"))["isready"])

        assert await world.until(is_ready, 60)
        image: bytes = world.disk.connection.serialize()
        return image
