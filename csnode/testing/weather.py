"""What befalls a virtual world: drawn from the seed, then carried out one by one, then over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from enum import StrEnum, auto
from typing import Any

from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.storage import StorageDriver
from csnode.model.host import Host, StoragePool
from csnode.testing.stranger import Stranger
from csnode.testing.wire import Weather
from csnode.testing.world import World
from csnode.types import Struct

SPAN_S = 40.0  # in which everything begins
LASTS_S = (0.05, 20.0)
ROUND_S = 15.0
HOURS_S = 3 * 3600.0


class Ill(StrEnum):
    """The kinds of it."""

    CRASH = auto()  # a process ends, and is started again
    PAUSE = auto()  # a process sleeps, through its lease perhaps
    PARTING = auto()  # some processes cannot reach the others
    SKEW = auto()  # a wall clock is wrong, or is put right
    HOURS = auto()  # it is wrong by hours, as after a power loss, and its process starts anew
    LOSS = auto()  # events and beacons get lost, or doubled
    SLOWNESS = auto()  # some frames take long
    ECHO = auto()  # calls to components arrive again, late
    SILENCE = auto()  # no event arrives at all
    STALL = auto()  # the disk takes long to sync
    FULL = auto()  # the disk takes nothing
    REFUSAL = auto()  # a pool refuses what it is asked
    POWER_CUT = auto()  # a host's machines are all off, and nobody is told
    STRANGER = auto()  # a data process of another cloud with the same name is on the LAN
    HALT = auto()  # a guest shuts itself down


WEIGHTS: dict[Ill, int] = {
    Ill.CRASH: 6, Ill.PAUSE: 4, Ill.PARTING: 4, Ill.SKEW: 1, Ill.LOSS: 2, Ill.SLOWNESS: 2,
    Ill.ECHO: 2, Ill.SILENCE: 1, Ill.STALL: 1, Ill.FULL: 1, Ill.REFUSAL: 1, Ill.POWER_CUT: 1,
    Ill.HALT: 1, Ill.HOURS: 1, Ill.STRANGER: 1,
}  # fmt: skip


class Mishap(Struct):
    """One of them: from when, for how long, and to whom."""

    at: float
    ill: Ill
    lasts_s: float
    whom: tuple[str, ...] = ()
    much: float = 0.0


def forecast(seed: int, processes: Sequence[str]) -> list[Mishap]:
    """Return what is to befall the world of that seed, by time. Some worlds have a fine day."""
    chance = random.Random(f"weather {seed}")
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    found: list[Mishap] = []
    for _ in range(chance.choice((0, 1, 2, 3, 4, 5, 6, 8))):
        few = chance.sample(list(processes), chance.choice((1, 1, 1, 2, 3)))
        ill = chance.choices(kinds, weights)[0]
        found.append(
            Mishap(
                at=chance.uniform(0.0, SPAN_S),
                ill=ill,
                lasts_s=chance.choice((chance.uniform(*LASTS_S), chance.uniform(0.05, 1.0))),
                whom=tuple(few if ill in (Ill.PARTING, Ill.HOURS) else few[:1]),
                much=chance.random(),
            )
        )
    return sorted(found, key=lambda mishap: mishap.at)


def skewed(much: float) -> float:
    """Return seconds by which a clock is wrong: a minute at most, or hours."""
    if much < 0.5:
        return (much - 0.25) * 240
    return (much - 0.75) * 32 * 3600


class Climate:
    """Carries mishaps out; at the end the sky is clear, and every process runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.disturbed: set[str] = set()  # machines whose power something else changed
        self._weather = Weather()

    async def pass_over(self, mishaps: Sequence[Mishap]) -> None:
        """Let all of them pass, side by side as they overlap."""
        rounds = asyncio.create_task(self._go_round())
        try:
            await asyncio.gather(*(self._befall(mishap) for mishap in mishaps))
        finally:
            rounds.cancel()

    async def _go_round(self) -> None:
        """Switch machines on again before long that a fencer switched off."""
        power = self.world.power
        while True:
            await asyncio.sleep(ROUND_S)
            for machine in power.machines():
                if not power.has(machine) and machine not in power.kept_off:
                    await power.restore(machine)

    async def clear(self) -> None:
        """Put right whatever is still wrong."""
        world = self.world
        self.disturbed |= world.power.stopped
        for machine in world.power.machines():
            await world.power.restore(machine)
        world.wire.weather = Weather()
        world.part()
        world.disk.stall_s, world.disk.full = 0.0, False
        for process in world.processes.values():
            if world.loop.is_asleep(process.owner):
                world.resume(process.name)
        for name in world.processes:
            world.start(name)
        await world.whole()

    async def _befall(self, mishap: Mishap) -> None:
        await asyncio.sleep(mishap.at)
        world = self.world
        match mishap.ill:
            case Ill.CRASH | Ill.PAUSE | Ill.SKEW | Ill.HOURS:
                await self._process(mishap)
            case Ill.PARTING:
                world.part(*mishap.whom)
                await asyncio.sleep(mishap.lasts_s)
                world.part()
            case Ill.STRANGER:
                async with Stranger(world):
                    await asyncio.sleep(mishap.lasts_s)
            case Ill.POWER_CUT | Ill.HALT:
                await self._power(mishap)
            case Ill.REFUSAL:
                await self._refuse(mishap)
            case Ill.STALL | Ill.FULL:
                await self._disk(mishap)
            case _:
                await self._wire(mishap)

    async def _process(self, mishap: Mishap) -> None:
        world, whom = self.world, mishap.whom[0]
        match mishap.ill:
            case Ill.CRASH:
                await self._restart(whom, mishap.lasts_s)
            case Ill.PAUSE:
                world.pause(whom)
                await asyncio.sleep(mishap.lasts_s)
                world.resume(whom)
            case Ill.SKEW:
                world.skew(whom, skewed(mishap.much))
            case _:
                for name in mishap.whom:
                    world.skew(name, (mishap.much - 0.5) * 2 * HOURS_S)
                await asyncio.gather(*(self._restart(n, mishap.lasts_s) for n in mishap.whom))

    async def _restart(self, name: str, away_s: float) -> None:
        world = self.world
        await world.crash(name)
        await asyncio.sleep(away_s)
        if world.power.has(world.processes[name].machine):
            world.start(name)

    async def _wire(self, mishap: Mishap) -> None:
        world, much = self.world, mishap.much
        change: dict[str, Any]
        match mishap.ill:
            case Ill.LOSS:
                change = {"lost": much, "doubled": much / 2}
            case Ill.SLOWNESS:
                change = {"slow": much, "slow_s": 2.5 * much}
            case Ill.ECHO:
                change = {"echoed": much}
            case _:
                change = {"silent": True}
        world.timeline.add("weather", f"{mishap.ill} {change}")
        for name, value in change.items():
            setattr(world.wire.weather, name, value)
        await asyncio.sleep(mishap.lasts_s)
        world.timeline.add("weather", f"no more {mishap.ill}")
        fair = Weather()
        for name in change:
            setattr(world.wire.weather, name, getattr(fair, name))

    async def _disk(self, mishap: Mishap) -> None:
        disk = self.world.disk
        self.world.timeline.add("weather", f"the disk: {mishap.ill}")
        if mishap.ill is Ill.STALL:
            disk.stall_s = 3 * mishap.much
        else:
            disk.full = True
        await asyncio.sleep(mishap.lasts_s)
        self.world.timeline.add("weather", "the disk is fine")
        disk.stall_s, disk.full = 0.0, False

    async def _power(self, mishap: Mishap) -> None:
        """Strike straight at the hardware, whatever csnode does meanwhile."""
        world = self.world
        hosts = self._rows(Host)
        if not hosts:
            return
        host = hosts[int(mishap.much * len(hosts))]
        outside = world.outside(Hypervisor, host)
        if mishap.ill is Ill.POWER_CUT:
            world.timeline.add("weather", f"host {host[:8]} loses power")
            self.disturbed.update(outside.machines)
            outside.lose_power()
            outside.boot()
        elif outside.machines:
            vm = sorted(outside.machines)[0]
            world.timeline.add("weather", f"the guest of machine {vm[:8]} shuts down")
            self.disturbed.add(vm)
            outside.halt(vm)

    async def _refuse(self, mishap: Mishap) -> None:
        pools = self._rows(StoragePool)
        if not pools:
            return
        outside = self.world.outside(StorageDriver, pools[int(mishap.much * len(pools))])
        self.world.timeline.add("weather", "a pool refuses new volumes")
        outside.failing.add("ensure_volume")
        await asyncio.sleep(mishap.lasts_s)
        outside.failing.discard("ensure_volume")

    def _rows(self, kind: type[Any]) -> list[str]:
        """Return ids as some api knows them just now."""
        for name in self.world.apis():
            return sorted(row.id for row in self.world.role(name, "api").view.all(kind))
        return []
