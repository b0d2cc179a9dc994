"""One seed, tried: a virtual world under load and bad weather, then quiet, then judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from csnode.drivers.hypervisor import Hypervisor
from csnode.faults import Fault
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.vm import VmState
from csnode.testing.ledger import Ledger
from csnode.testing.load import Load
from csnode.testing.loop import simulate
from csnode.testing.operator import operated, put_right
from csnode.testing.tenants import settle_tenants
from csnode.testing.values import SHARED, URL
from csnode.testing.weather import Climate, Mishap, forecast
from csnode.testing.world import SPLIT, Shape, World
from csnode.types import Power, Struct
from csnode.verify.judge import verify

LOAD_S = 45.0
QUIET_S = 90.0  # sweeps have come round by then
CLEAN_S = 180.0  # a disk that an undo could not reach is a stranger to three rounds of a sweep
ENDS_S = 300.0
COUNTED_ANEW = "WARNING: counted anew"
ONE: Shape = {
    "host-1": ("api", "compute", "data", "fabric", "monitor", "network", "orchestrator", "storage"),
    "api-2": ("api",),
    "orc-2": ("orchestrator",),
    "host-2": ("compute", "network", "storage"),
}
SHAPES: tuple[Shape, ...] = (SPLIT, ONE)


class Outcome(Struct):
    """What came of one seed."""

    seed: int
    violations: tuple[str, ...]
    story: str
    digest: str
    jobs: int
    seconds: float  # of virtual time
    ledger: Ledger = msgspec.field(default_factory=Ledger)


def tried(
    seed: int, weather: Sequence[Mishap] | None = None, shape: Shape | None = None
) -> Outcome:
    """Run the world of that seed; weather and shape follow from the seed unless given."""
    hardware = _hardware(seed)
    image = prepared(shared="shared" in hardware["storage"])
    return simulate(_trial(seed, image, weather, shape or SHAPES[seed % len(SHAPES)], hardware))


async def _trial(
    seed: int, image: bytes, weather: Sequence[Mishap] | None, shape: Shape,
    hardware: dict[str, dict[str, Any]],
) -> Outcome:  # fmt: skip
    async with World(seed, shape, image, hardware) as world:
        mishaps = forecast(seed, list(shape)) if weather is None else weather
        load, climate = Load(world, seed), Climate(world)
        passing = asyncio.create_task(climate.pass_over(mishaps))
        watching = asyncio.create_task(watched(world))
        await asyncio.gather(load.work(LOAD_S), operated(load, seed))
        await passing
        await climate.clear()
        await put_right(load)
        violations = await judged(world, load, climate)
        watching.cancel()
        load.ledger.note_jobs(await world.store.find(Job))
        return Outcome(
            seed=seed,
            violations=tuple(violations),
            story=world.timeline.text(),
            digest=world.timeline.digest(),
            jobs=len(load.jobs()),
            seconds=world.loop.time(),
            ledger=load.ledger,
        )


async def watched(world: World) -> None:
    """Watch for what may never be, whatever comes right later: a machine on two hosts."""
    hosts = [host.id for host in await world.store.find(Host)]
    outsides = [world.outside(Hypervisor, host) for host in hosts]
    told: set[str] = set()
    while True:
        seen: set[str] = set()
        for outside in outsides:
            on = {vm for vm, machine in outside.machines.items() if machine.power is Power.ON}
            for vm in sorted((seen & on) - told):
                told.add(vm)
                world.broken.append(f"P2 machine {vm} runs on two hosts at once")
                world.timeline.add("world", world.broken[-1])
            seen |= on
        await asyncio.sleep(0.25)


def _hardware(seed: int) -> dict[str, dict[str, Any]]:
    """Return how slow this world's hosts and pools are, and how often a hypervisor fails."""
    chance = random.Random(f"hardware {seed}")

    def slow() -> float:
        return chance.choice((0.0, 0.05, 0.5, chance.uniform(0.0, 4.0)))

    fails: dict[str, Any] = {"fail": chance.choice((0.0, 0.0, 0.1, 0.3))}
    if chance.random() < 0.5:  # an undo that is refused for good leaves its job stuck, rightly
        fails |= {"fault": "Refused", "fail_verbs": ("ensure_running", "reboot", "ensure_off")}
    pool = {"name": SHARED, "shared": True} if chance.random() < 0.5 else {}
    return {
        "api": {"users_may_expunge": chance.random() < 0.5},
        "data": {"feed_keep": chance.choice((5, 200_000, 200_000))},
        "compute": {"options": {"latency_s": slow(), "move_s": slow(), **fails}},
        "network": {"options": {"latency_s": slow()}},
        "storage": {**pool, "options": {"latency_s": slow()}},
    }


async def judged(world: World, load: Load, climate: Climate) -> list[str]:
    """Return what the cloud promised and did not keep."""
    store = world.store

    async def all_ended() -> bool:
        return not any(job.open for job in await store.find(Job))

    found = [*load.violations, *(f"broken: {said}" for said in world.broken)]
    if not await world.until(all_ended, ENDS_S):
        found += [f"P1 job {j.id} ({j.verb}) never ends: {j.state}, started {j.started}"
                  for j in await store.find(Job) if j.open]  # fmt: skip
    await asyncio.sleep(QUIET_S)
    await world.until(all_ended, ENDS_S)
    jobs = {job.id: job for job in await store.find(Job)}
    found += [f"P3 job {id} ({asked.command}) was accepted and is lost"
              for id, asked in load.jobs().items() if id not in jobs]  # fmt: skip

    async def wrong() -> list[str]:
        verdict = await verify(world.bus, store)
        return [f"{f.promise} {f.check}: {f.what}" for f in verdict.findings]

    found += await until_none(world, wrong, CLEAN_S, 15.0)
    found += miscounted(world)
    found += await _states(world, load, climate)
    return found


def miscounted(world: World) -> list[str]:
    """Find tallies that a sweep had to count anew.

    Where all csnodes count alike, none is ever wrong.
    """
    told = world.timeline.happenings
    return [f"P2 a tally was wrong: {each.what}" for each in told if COUNTED_ANEW in each.what]


async def until_none(
    world: World, wrong: Callable[[], Awaitable[list[str]]], seconds: float, every_s: float
) -> list[str]:
    """Return what is still wrong after that time; empty as soon as nothing is."""
    end = world.loop.moment + seconds
    while True:
        try:
            left = await wrong()
        except Fault as fault:
            left = [f"cannot tell: {fault.message}"]
        if not left or world.loop.moment > end:
            return left
        await asyncio.sleep(every_s)


async def _states(world: World, load: Load, climate: Climate) -> list[str]:
    """Check the states of machines of which one client alone knew what was done to them.

    That is known if it was one thing after the other.
    """
    found: list[str] = []
    _, answer = await world.ask(world.apis()[0], "listVirtualMachines", {"listall": "true"})
    shown = {vm["id"]: vm["state"] for vm in answer.get("virtualmachine", ())}
    for id, wanted in load.expected.items():
        state = shown.get(id, "gone")
        goes = wanted == VmState.DESTROYED  # a failed one goes at once
        fine = {wanted, "gone"} if goes else {wanted}
        if wanted and state not in fine and id not in climate.disturbed:
            found.append(f"P3 machine {id} is {state}; its last job made it {wanted}")
        if state in (VmState.STARTING, VmState.STOPPING, VmState.EXPUNGING):
            found.append(f"P1 machine {id} is {state}, and nobody is at work on it")
    return found


def prepared(shared: bool = False) -> bytes:
    """Return the database a trial begins with: a cloud with tenants, and a template for all."""
    return _prepared(shared)


@cache
def _prepared(shared: bool) -> bytes:
    return simulate(_prepare({"storage": {"name": SHARED, "shared": True}} if shared else {}))


async def _prepare(sections: dict[str, dict[str, Any]]) -> bytes:
    async with World(0, SPLIT, sections=sections) as world:

        async def first(command: str, **params: str) -> dict[str, Any]:
            _, answer = await world.ask("api-1", command, params)
            return dict(next(v for k, v in answer.items() if k != "count")[0])

        await settle_tenants(world.store)
        about = {
            "name": "tiny",
            "displaytext": "tiny",
            "url": URL,
            "format": "QCOW2",
            "hypervisor": "KVM",
            "ispublic": "true",
            "zoneid": (await first("listZones"))["id"],
            "ostypeid": (await first("listOsTypes"))["id"],
        }
        await world.ask("api-1", "registerTemplate", about)

        async def is_ready() -> bool:
            return bool((await first("listTemplates", templatefilter="all"))["isready"])

        assert await world.until(is_ready, 60)
        image: bytes = world.disk.connection.serialize()
        return image
