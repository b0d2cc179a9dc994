"""One seed, survived by leases: hosts lose the pool they share, and their network with it or not.

Nobody switches a host off here: only its lease may say that its guests are stopped. In half of
these worlds watchdogs are armed, and anything may happen to keepers; in the others leases are
trusted, and so nothing happens to keepers but what happens to their machines.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.leasehold import Leasehold
from csnode.testing.calamity import KEEPER, SPAN_S, Calamity, Fate, Ill, forecast
from csnode.testing.loop import simulate
from csnode.testing.survival import HOSTS, SHAPES, endured, hardware, prepared
from csnode.testing.trial import Outcome
from csnode.testing.world import CLUSTER, Shape, World
from csnode.types import Struct
from csnode.uuids import id_of

POOL, FOLDER = "san", "sim://san"
SPANS = ((0.05, 3.0), (3.0, 12.0), (8.0, 30.0), (20.0, 60.0))
CALMS_S = 10.0  # a keeper that has its pool again still ends what ran without it
BESIDE_S = 8.0  # by which a host may lose its network before or after its pool


class Cut(Struct):
    """A host loses its pool: from when, for how long, and whether it hangs or fails."""

    at: float
    lasts_s: float
    host: str
    hangs: bool


def leases(watchdog: bool, **keeper: Any) -> dict[str, dict[str, Any]]:
    """Return the sections of a world whose hosts keep leases in the pool "san".

    The hosts are fenced by them.
    """
    return {
        "fabric": {"fence": "lease", "trust_lease": not watchdog},
        "keeper": {
            "driver": "sim",
            "pools": {POOL: FOLDER},
            "leases": "sim",
            "hypervisor": "sim",
            "watchdog": "sim" if watchdog else "",
            **keeper,
        },
    }


def is_watched(seed: int) -> bool:
    """Tell whether the hosts of that seed's world have watchdogs."""
    return random.Random(f"watchdogs {seed}").random() < 0.5


def misfortunes(seed: int, shape: Shape) -> tuple[list[Calamity], list[Cut]]:
    """Return what is to befall the world of that seed, besides its pool and to the pool."""
    chance = random.Random(f"storage {seed}")
    victims = chance.sample(HOSTS, chance.choice((1, 1, 2)))
    others = [
        calamity
        for calamity in forecast(seed, list(shape), HOSTS)
        if is_watched(seed) or not any(name.endswith(KEEPER) for name in calamity.whom)
    ]
    cuts: list[Cut] = []
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        host, at = chance.choice(victims), chance.uniform(0.0, SPAN_S)
        lasts = chance.uniform(*chance.choice(SPANS))
        cuts.append(Cut(at=at, lasts_s=lasts, host=host, hangs=chance.random() < 0.5))
        if chance.random() < 0.75:
            beside = max(0.0, at + chance.uniform(-BESIDE_S, BESIDE_S))
            lasts = chance.uniform(*chance.choice(SPANS))
            others.append(Calamity(at=beside, ill=Ill.CUT_OFF, lasts_s=lasts, whom=(host,)))
    return sorted(others, key=lambda calamity: calamity.at), cuts


class Tenancy:
    """Who reaches the pool, by name of the host."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shelf: Any = world.outside(Leasehold, id_of(CLUSTER, "pool", "shared", POOL))
        self._cuts: dict[str, int] = {}

    def cut(self, host: str, hangs: bool = True) -> None:
        """Cut a host off the pool: it cannot write to its leases.

        No machine starts there whose disk it would have to open. What runs there runs on, as guests
        do whose disks hang.
        """
        self._say(f"{host} loses the pool, which {'hangs' if hangs else 'fails'}")
        id = self._world.power.host(host)
        self._cuts[host] = self._cuts.get(host, 0) + 1
        if hangs:
            self._shelf.hang(id)
        else:
            self._shelf.failing.add(id)
        self._world.outside(Hypervisor, id).out_of_reach.add(FOLDER)

    def mend(self, host: str) -> None:
        """Let the host reach the pool again, if it was not cut off twice."""
        self._cuts[host] -= 1
        if self._cuts[host] == 0:
            self._say(f"{host} has the pool again")
            id = self._world.power.host(host)
            self._shelf.mend(id)
            self._world.outside(Hypervisor, id).out_of_reach.discard(FOLDER)

    async def strike(self, cuts: Sequence[Cut]) -> None:
        """Let all of them strike, side by side as they overlap."""
        await asyncio.gather(*(self._befall(cut) for cut in cuts))

    async def _befall(self, cut: Cut) -> None:
        await asyncio.sleep(cut.at)
        self.cut(cut.host, cut.hangs)
        await asyncio.sleep(cut.lasts_s)
        self.mend(cut.host)

    def _say(self, what: str) -> None:
        self._world.timeline.add("fate", what)


def tenanted(
    seed: int, misfortune: tuple[Sequence[Calamity], Sequence[Cut]] | None = None
) -> Outcome:
    """Run the world of that seed; what befalls it follows from the seed unless given."""
    shape = SHAPES[seed % len(SHAPES)]
    calamities, cuts = misfortunes(seed, shape) if misfortune is None else misfortune
    chance = random.Random(f"leases {seed}")
    slow = {"latency_s": chance.choice((0.0, 0.05, 0.5, 1.0))}
    told = leases(
        is_watched(seed), hypervisor_options=slow,
        lease_options={"latency_s": chance.choice((0.0, 0.01, 0.3))},
    )  # fmt: skip

    async def strike(fate: Fate) -> None:
        await asyncio.gather(fate.strike(calamities), Tenancy(fate.world).strike(cuts))

    return simulate(
        endured(seed, prepared(), shape, hardware(seed) | told, strike, calms_s=CALMS_S)
    )
