"""What befalls the hosts of a virtual world: drawn from the seed, carried out, and put right.

Here machines fail as machines do: all that runs on one goes with its power, and a wire that is cut
is cut for every process of a machine. Most of it falls on one or two machines of each world, as it
is what happens to one and the same host within a few seconds that may lead to harm.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum, auto
from typing import Any

from csnode.testing.wire import Way, Weather
from csnode.testing.world import Process, World
from csnode.types import Struct

SPAN_S = 40.0  # in which everything begins
BRIEF_S, SHORT_S, LONG_S = (0.05, 3.0), (3.0, 12.0), (10.0, 40.0)
FATAL_S = (20.0, 45.0)
SKEW_S = 60.0
DRIFT = 0.01
LATE_S = 30.0  # what a slow switch may take
ROUND_S = 5.0
KEEPER = ".keeper"


class Ill(StrEnum):
    """The kinds of it."""

    BLACKOUT = auto()  # a machine loses its power, and gets it back
    RETURN = auto()  # somebody switches on every machine that is off
    CUT_OFF = auto()  # some machines cannot reach the others
    SPLIT = auto()  # the machines fall apart into three sides
    DEAFNESS = auto()  # frames leave a machine, and none arrives
    MUTENESS = auto()  # frames arrive at a machine, and none leaves
    BETWEEN = auto()  # two machines cannot reach each other; everybody else reaches both
    CRASH = auto()  # a process ends, and is started again
    KEEPER_CRASH = auto()  # that of a host's keeper
    PAUSE = auto()  # a process sleeps, through its lease perhaps
    SKEW = auto()  # a machine's wall clock is wrong, or is put right
    LOSS = auto()  # events and beacons get lost, or doubled
    SLOWNESS = auto()  # some frames take long
    ECHO = auto()  # calls to components arrive again, late
    STALL = auto()  # the data service's disk takes long to sync
    SILENT_SWITCH = auto()  # a management board does not answer
    SLOW_SWITCH = auto()  # it takes long to do what it was told


WEIGHTS: dict[Ill, int] = {
    Ill.BLACKOUT: 8, Ill.RETURN: 3, Ill.CUT_OFF: 8, Ill.SPLIT: 2, Ill.DEAFNESS: 2, Ill.MUTENESS: 2,
    Ill.BETWEEN: 3, Ill.CRASH: 6, Ill.KEEPER_CRASH: 3, Ill.PAUSE: 6, Ill.SKEW: 1, Ill.LOSS: 2,
    Ill.SLOWNESS: 2, Ill.ECHO: 2, Ill.STALL: 1, Ill.SILENT_SWITCH: 4, Ill.SLOW_SWITCH: 3,
}  # fmt: skip


class Calamity(Struct):
    """One of them: from when, for how long, and to which machines or processes."""

    at: float
    ill: Ill
    lasts_s: float
    whom: tuple[str, ...] = ()
    much: float = 0.0


def machines_of(shape: Iterable[str]) -> list[str]:
    """Return the machines that processes of these names run on, in order."""
    return list(dict.fromkeys(name.partition(".")[0] for name in shape))


def victims_of(seed: int, hosts: Sequence[str]) -> list[str]:
    """Return the hosts that most of it falls on; the first fails so long that it is fenced."""
    chance = random.Random(f"victims {seed}")
    return chance.sample(list(hosts), chance.choice((1, 1, 2)))


def _fatal(chance: random.Random, victim: str) -> Calamity:
    """Draw an absence of the host that is long enough for it to be taken for dead."""
    return Calamity(
        at=chance.uniform(0.0, SPAN_S / 2),
        ill=chance.choice((Ill.BLACKOUT, Ill.CUT_OFF)),
        lasts_s=chance.uniform(*FATAL_S),
        whom=(victim,),
    )


def forecast(seed: int, shape: Sequence[str], hosts: Sequence[str]) -> list[Calamity]:
    """Return what is to befall the world of that seed, by time."""
    chance = random.Random(f"calamities {seed}")
    machines = machines_of(shape)
    victims = victims_of(seed, hosts)
    found = [_fatal(chance, victims[0])]
    for _ in range(chance.choice((0, 1, 2, 3, 4, 5, 7, 9))):
        ill = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        lasts = chance.uniform(*chance.choice((BRIEF_S, SHORT_S, SHORT_S, LONG_S)))
        found.append(
            Calamity(
                at=chance.uniform(0.0, SPAN_S),
                ill=ill,
                lasts_s=lasts,
                whom=_whom(chance, ill, victims, machines, shape),
                much=chance.random(),
            )
        )
    return sorted(found, key=lambda calamity: calamity.at)


def _whom(
    chance: random.Random, ill: Ill, victims: list[str], machines: list[str], shape: Sequence[str]
) -> tuple[str, ...]:
    victim = chance.choice(victims)
    match ill:
        case Ill.CRASH | Ill.PAUSE:
            ours = [name for name in shape if name.partition(".")[0] == victim]
            return (chance.choice(chance.choice((ours, list(shape)))),)
        case Ill.KEEPER_CRASH:
            return (victim + KEEPER,)
        case Ill.CUT_OFF:
            with_it = chance.sample(machines, chance.choice((0, 0, 0, 1, 2, 3)))
            return tuple(dict.fromkeys((victim, *with_it)))
        case Ill.SPLIT:
            return tuple(chance.sample(machines, len(machines)))
        case Ill.BETWEEN:
            return (victim, chance.choice([m for m in machines if m != victim]))
        case Ill.BLACKOUT | Ill.SKEW | Ill.DEAFNESS | Ill.MUTENESS:
            return (victim if chance.random() < 0.7 else chance.choice(machines),)
        case _:
            return (victim,)


def drifts(seed: int, machines: Sequence[str]) -> dict[str, float]:
    """Return how fast each machine's clocks run; in half of the worlds all are right."""
    chance = random.Random(f"drifts {seed}")
    if chance.random() < 0.5:
        return {}
    return {machine: chance.uniform(-DRIFT, DRIFT) for machine in machines}


class Fate:
    """Carries calamities out; at the end nothing is wrong any more, and everything runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._dark: dict[str, int] = {}  # machine -> blackouts that are not over
        self._round: asyncio.Task[None] | None = None

    async def strike(self, calamities: Sequence[Calamity]) -> None:
        """Let all of them strike, side by side as they overlap."""
        await asyncio.gather(*(self._befall(calamity) for calamity in calamities))

    async def relent(self) -> None:
        """Put right whatever is still wrong, as an operator does who goes round."""
        world = self.world
        world.wire.weather, world.wire.cuts = Weather(), []
        world.disk.stall_s = 0.0
        for machine in self._machines:
            switch = world.power.switch(machine)
            switch.answers, switch.seconds = True, 0.2
        for process in world.processes.values():
            if world.loop.is_asleep(process.owner):
                world.resume(process.name)
        self._dark.clear()
        self._round = asyncio.create_task(self._go_round())
        await world.whole()

    async def _go_round(self) -> None:
        """Bring all back, again and again: a slow switch may still do what it was told long ago."""
        while True:
            for machine in self._machines:
                await self._on(machine)
            for name, process in self.world.processes.items():
                if self.world.power.switch(process.machine).on:
                    self.world.start(name)
            await asyncio.sleep(ROUND_S)

    def leave(self) -> None:
        """Stop going round."""
        if self._round is not None:
            self._round.cancel()

    @property
    def _machines(self) -> list[str]:
        return machines_of(self.world.processes)

    async def _befall(self, calamity: Calamity) -> None:
        await asyncio.sleep(calamity.at)
        match calamity.ill:
            case Ill.BLACKOUT | Ill.RETURN | Ill.SILENT_SWITCH | Ill.SLOW_SWITCH:
                await self._power(calamity)
            case Ill.CRASH | Ill.KEEPER_CRASH | Ill.PAUSE:
                await self._process(self.world.processes[calamity.whom[0]], calamity)
            case Ill.SKEW:
                for process in self.world.processes.values():
                    if process.machine == calamity.whom[0]:
                        self.world.skew(process.name, (calamity.much - 0.5) * 2 * SKEW_S)
            case Ill.LOSS | Ill.SLOWNESS | Ill.ECHO | Ill.STALL:
                await self._weather(calamity)
            case _:
                with self._cut(calamity):
                    await asyncio.sleep(calamity.lasts_s)

    # -- power -------------------------------------------------------------------------------

    async def _power(self, calamity: Calamity) -> None:
        power, machine = self.world.power, calamity.whom[0]
        switch = power.switch(machine)
        match calamity.ill:
            case Ill.BLACKOUT:
                self._dark[machine] = self._dark.get(machine, 0) + 1
                await self._off(machine)
                await asyncio.sleep(calamity.lasts_s)
                self._dark[machine] -= 1
                await self._on(machine)
            case Ill.RETURN:
                for each in self._machines:
                    await self._on(each)
            case Ill.SILENT_SWITCH:
                self._say(f"the switch of {machine} does not answer")
                switch.answers = False
                await asyncio.sleep(calamity.lasts_s)
                switch.answers = True
            case _:
                switch.seconds = calamity.much * LATE_S
                self._say(f"the switch of {machine} takes {switch.seconds:.1f} s")
                await asyncio.sleep(calamity.lasts_s)
                switch.seconds = 0.2

    async def _off(self, machine: str) -> None:
        """Cut the mains, not by way of the switch: at once, and the switch knows."""
        switch = self.world.power.switch(machine)
        if switch.on:
            switch.on = False
            await switch.cut()

    async def _on(self, machine: str) -> None:
        switch = self.world.power.switch(machine)
        if not switch.on and not self._dark.get(machine):
            switch.on = True
            await switch.restored()

    # -- processes -----------------------------------------------------------------------------

    async def _process(self, process: Process, calamity: Calamity) -> None:
        world = self.world
        if calamity.ill is Ill.PAUSE:
            owner = process.owner
            world.pause(process.name)
            await asyncio.sleep(calamity.lasts_s)
            if process.owner == owner and world.loop.is_asleep(owner):
                world.resume(process.name)
            return
        await world.crash(process.name)
        await asyncio.sleep(calamity.lasts_s)
        if world.power.switch(process.machine).on:
            world.start(process.name)

    # -- the wire ------------------------------------------------------------------------------

    async def _weather(self, calamity: Calamity) -> None:
        world, much = self.world, calamity.much
        holder: Any = world.disk if calamity.ill is Ill.STALL else world.wire.weather
        change: Mapping[str, Any] = {
            Ill.LOSS: {"lost": much, "doubled": much / 2},
            Ill.SLOWNESS: {"slow": much, "slow_s": 2.5 * much},
            Ill.ECHO: {"echoed": much},
            Ill.STALL: {"stall_s": 3.0 * much},
        }[calamity.ill]
        self._say(f"{calamity.ill} {change}")
        before = {name: getattr(Weather(), name, 0.0) for name in change}
        for name, value in change.items():
            setattr(holder, name, value)
        await asyncio.sleep(calamity.lasts_s)
        self._say(f"no more {calamity.ill}")
        for name, value in before.items():
            setattr(holder, name, value)

    @contextmanager
    def _cut(self, calamity: Calamity) -> Generator[None]:
        ways, cuts = self._ways(calamity), self.world.wire.cuts
        self._say(f"{calamity.ill} {', '.join(calamity.whom)}")
        cuts.append(ways)
        try:
            yield
        finally:
            if ways in cuts:
                cuts.remove(ways)
            self._say(f"no more {calamity.ill} {', '.join(calamity.whom)}")

    def _ways(self, calamity: Calamity) -> frozenset[Way]:
        """Return the ways between machines that the calamity closes."""
        whom, all_ = calamity.whom, self._machines
        match calamity.ill:
            case Ill.DEAFNESS:
                return frozenset((other, whom[0]) for other in all_ if other != whom[0])
            case Ill.MUTENESS:
                return frozenset((whom[0], other) for other in all_ if other != whom[0])
            case Ill.BETWEEN:
                return frozenset((whom, whom[::-1]))  # type: ignore[arg-type]
            case Ill.SPLIT:
                third = max(1, int(len(whom) * calamity.much / 2))
                side = dict.fromkeys(all_, 0) | {m: min(n // third, 2) for n, m in enumerate(whom)}
            case _:
                side = {m: int(m in whom) for m in all_}
        return frozenset((a, b) for a in all_ for b in all_ if side[a] != side[b])

    def _say(self, what: str) -> None:
        self.world.timeline.add("fate", what)
