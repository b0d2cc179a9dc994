"""One seed, tried: a virtual world under load and bad weather, then quiet, then judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

from csnode.drivers.hypervisor import Hypervisor
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.testing.load import Load
from csnode.testing.loop import simulate
from csnode.testing.weather import Climate, Mishap, forecast
from csnode.testing.world import SPLIT, Shape, World
from csnode.types import Power, Struct
from csnode.verify.judge import verify

LOAD_S = 45.0
QUIET_S = 90.0  # sweeps have come round by then
ENDS_S = 300.0
ONE: Shape = {
    "host-1": ("api", "compute", "data", "fabric", "monitor", "network", "orchestrator", "storage"),
    "api-2": ("api",),
    "orc-2": ("orchestrator",),
    "host-2": ("compute", "network", "storage"),
}
SHAPES: tuple[Shape, ...] = (SPLIT, ONE)
URL = "http://images.example/tiny.qcow2"


class Outcome(Struct):
    """What came of one seed."""

    seed: int
    violations: tuple[str, ...]
    story: str
    digest: str
    jobs: int
    seconds: float  # of virtual time


def tried(
    seed: int, weather: Sequence[Mishap] | None = None, shape: Shape | None = None
) -> Outcome:
    """Run the world of that seed; weather and shape follow from the seed unless given."""
    return simulate(_trial(seed, prepared(), weather, shape or SHAPES[seed % len(SHAPES)]))


async def _trial(
    seed: int, image: bytes, weather: Sequence[Mishap] | None, shape: Shape
) -> Outcome:
    async with World(seed, shape, image, _hardware(seed)) as world:
        mishaps = forecast(seed, list(shape)) if weather is None else weather
        load, climate = Load(world, seed), Climate(world)
        passing = asyncio.create_task(climate.pass_over(mishaps))
        watching = asyncio.create_task(watched(world))
        await load.work(LOAD_S)
        await passing
        await climate.clear()
        violations = await judged(world, load, climate)
        watching.cancel()
        return Outcome(
            seed=seed,
            violations=tuple(violations),
            story=world.timeline.text(),
            digest=world.timeline.digest(),
            jobs=len(load.jobs()),
            seconds=world.loop.time(),
        )


async def watched(world: World) -> None:
    """What may not be so for a moment, whatever comes right later: a machine on two hosts."""
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
    """How slow this world's hosts and pools are, and how often a hypervisor fails."""
    chance = random.Random(f"hardware {seed}")

    def slow() -> float:
        return chance.choice((0.0, 0.05, 0.5, chance.uniform(0.0, 4.0)))

    fails: dict[str, Any] = {"fail": chance.choice((0.0, 0.0, 0.1, 0.3))}
    if chance.random() < 0.5:  # an undo that is refused for good leaves its job stuck, rightly
        fails |= {"fault": "Refused", "fail_verbs": ("ensure_running", "reboot", "ensure_off")}
    return {
        "compute": {"options": {"latency_s": slow(), **fails}},
        "network": {"options": {"latency_s": slow()}},
        "storage": {"options": {"latency_s": slow()}},
    }


async def judged(world: World, load: Load, climate: Climate) -> list[str]:
    """What the cloud promised and did not keep."""
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
    verdict = await verify(world.bus, store)
    found += [f"{f.promise} {f.check}: {f.what}" for f in verdict.findings]
    found += await _states(world, load, climate)
    return found


async def _states(world: World, load: Load, climate: Climate) -> list[str]:
    """Machines of which one client alone knew what was done to them, one thing after the other."""
    found: list[str] = []
    _, answer = await world.ask(world.apis()[0], "listVirtualMachines")
    shown = {vm["id"]: vm["state"] for vm in answer.get("virtualmachine", ())}
    for id, wanted in load.expected.items():
        state = shown.get(id, "gone")
        fine = {wanted, "gone"} if wanted == "Destroyed" else {wanted}  # a failed one goes at once
        if wanted and state not in fine and id not in climate.disturbed:
            found.append(f"P3 machine {id} is {state}; its last job made it {wanted}")
        if state in ("Starting", "Stopping", "Expunging"):
            found.append(f"P1 machine {id} is {state}, and nobody is at work on it")
    return found


@cache
def prepared() -> bytes:
    """The database of a cloud with a template, as every trial begins with."""
    return simulate(_prepare())


async def _prepare() -> bytes:
    async with World(0, SPLIT) as world:

        async def first(command: str, **params: str) -> dict[str, Any]:
            _, answer = await world.ask("api-1", command, params)
            return dict(next(v for k, v in answer.items() if k != "count")[0])

        about = {
            "name": "tiny",
            "displaytext": "tiny",
            "url": URL,
            "format": "QCOW2",
            "hypervisor": "KVM",
            "zoneid": (await first("listZones"))["id"],
            "ostypeid": (await first("listOsTypes"))["id"],
        }
        await world.ask("api-1", "registerTemplate", about)

        async def is_ready() -> bool:
            return bool((await first("listTemplates", templatefilter="all"))["isready"])

        assert await world.until(is_ready, 60)
        image: bytes = world.disk.connection.serialize()
        return image
