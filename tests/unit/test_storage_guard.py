"""A keeper's guard on one pool, and its eyes on others' leases: what it stops, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from csnode.clock import now
from csnode.config import Config
from csnode.drivers.driver import Seat
from csnode.faults import Conflict, Invalid, NotFound, Unavailable
from csnode.model.host import Host, Seen
from csnode.model.machine import Disk, Domain
from csnode.node import known_sections
from csnode.testing.hypervisor import tiny
from csnode.testing.leasehold import ONE, TWO, lease
from csnode.testing.loop import simulate
from csnode.types import ClusterId, PodId, Power, VmId, VolumeId, ZoneId
from roles.compute.drivers import sim
from roles.compute.drivers.sim import SimHypervisor
from roles.compute.host import HostCompute
from roles.keeper.drivers import sim_leases
from roles.keeper.drivers.sim_leases import SimLeasehold
from roles.keeper.guard import Guard, Terms
from roles.keeper.watcher import Watcher

TERMS = Terms(lease_s=8.0, stop_s=3.0, stale_s=15.0, armed=False)
ON_POOL, ELSEWHERE, BESIDE = VmId("1" * 8), VmId("2" * 8), VmId("3" * 8)
SEAT = Seat(id=ONE, name="h", address="", folder="")
Shelf = sim_leases.SimShelf


def pool(host: str = ONE) -> SimLeasehold:
    return SimLeasehold({}, Seat(id="pool", name="san", address=host, folder="sim://san"))


def machine(vm: VmId, path: str) -> Domain:
    return replace(tiny("1"), vm=vm, disks=(Disk(volume=VolumeId(vm), path=path),))


class Scene:
    """A host with three guests, one of which has its disk on the pool; and what was told."""

    def __init__(self, guard: Guard, hypervisor: SimHypervisor) -> None:
        self.guard, self.hypervisor = guard, hypervisor
        self.shelf: Shelf = sim_leases.outside("pool")
        self.host = sim.outside(ONE)

    def on(self) -> set[VmId]:
        return {vm for vm, m in self.host.machines.items() if m.power is Power.ON}


@asynccontextmanager
async def guarded(terms: Terms = TERMS, **options: Any) -> AsyncGenerator[Scene]:
    SimLeasehold.forget_outside()
    sim.forget_all()
    told: list[str] = []

    async def tell(text: str) -> None:
        told.append(text)

    async with SimHypervisor(options, SEAT) as hypervisor:
        guard = Guard(ONE, "epoch", pool(), hypervisor, terms, tell)
        scene = Scene(guard, hypervisor)
        for vm, path in (
            (ON_POOL, "sim://san/a"), (ELSEWHERE, "sim://local/b"), (BESIDE, "sim://san2/c"),
        ):  # fmt: skip
            scene.host.start(machine(vm, path))
        tasks = [asyncio.create_task(loop) for loop in (guard.renew(), guard.watch())]
        await asyncio.sleep(10)
        assert scene.on() == {ON_POOL, ELSEWHERE, BESIDE}
        yield scene
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await guard.close()


def played(story: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with guarded(**options) as scene:
            await story(scene)

    simulate(whole())


# -- what is stopped, and when ---------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [True, False])
def test_only_guests_on_the_pool_that_was_lost_are_stopped(hangs: bool) -> None:
    async def story(scene: Scene) -> None:
        if hangs:
            scene.shelf.hang(ONE)
        else:
            scene.shelf.failing.add(ONE)
        await asyncio.sleep(5)
        assert ON_POOL in scene.on()
        await asyncio.sleep(3.5)
        assert scene.on() == {ELSEWHERE, BESIDE}
        assert scene.guard.troubles

    played(story)


def test_what_is_started_while_the_pool_is_lost_is_stopped_too() -> None:
    async def story(scene: Scene) -> None:
        scene.shelf.hang(ONE)
        await asyncio.sleep(60)
        scene.host.start(machine(ON_POOL, "sim://san/a"))
        await asyncio.sleep(1)
        assert ON_POOL not in scene.on()

    played(story)


def test_a_renewal_that_took_long_counts_from_when_it_began() -> None:
    """Had it counted from its end, the lease would look good while others see an old one move."""

    class Slow(SimLeasehold):
        writes = 0

        async def write(self, lease: Any) -> None:
            self.writes += 1
            await asyncio.sleep(5.0 if self.writes == 1 else 1e6)

    async def story(scene: Scene) -> None:
        slow = scene.guard.pool = Slow({}, pool().seat)
        while not slow.writes:
            await asyncio.sleep(0.1)
        await asyncio.sleep(7.5)
        assert ON_POOL in scene.on()
        await asyncio.sleep(1.5)
        assert ON_POOL not in scene.on()

    played(story)


def test_until_nothing_runs_that_ran_without_it_a_renewed_lease_guards_nothing() -> None:
    async def story(scene: Scene) -> None:
        scene.shelf.hang(ONE)
        await asyncio.sleep(9)
        assert ON_POOL in scene.on()  # stopping it takes a while here
        scene.shelf.mend(ONE)
        await asyncio.sleep(2.6)
        assert ON_POOL in scene.on()
        assert not scene.shelf.leases[ONE].guarding
        await asyncio.sleep(20)
        assert ON_POOL not in scene.on()
        assert scene.shelf.leases[ONE].guarding
        assert not scene.guard.lost

    played(story, latency_s=6.0)


def test_guests_that_outlive_their_lease_are_overdue_until_they_are_gone() -> None:
    async def story(scene: Scene) -> None:
        assert not scene.guard.overdue
        scene.shelf.hang(ONE)
        await asyncio.sleep(9)
        assert not scene.guard.overdue
        await asyncio.sleep(4)
        assert scene.guard.overdue
        await asyncio.sleep(6)
        assert ON_POOL not in scene.on()
        assert not scene.guard.overdue

    played(story, latency_s=8.0)


def test_a_keeper_that_takes_its_lease_back_says_so_or_raises() -> None:
    async def story(scene: Scene) -> None:
        await scene.guard.leave()
        assert not scene.shelf.leases[ONE].guarding
        scene.shelf.hang(ONE)
        with pytest.raises(Unavailable):
            await scene.guard.leave()

    played(story)


# -- others' leases --------------------------------------------------------------------------------


def test_a_lease_stands_still_from_when_it_was_first_read_so() -> None:
    async def story(scene: Scene) -> None:
        watcher = Watcher(pool(TWO))
        assert (await watcher.standing(ONE)).still_s == 0.0
        await asyncio.sleep(9)
        assert (await watcher.standing(ONE)).still_s <= 2.0
        scene.shelf.hang(ONE)
        began = now()
        await asyncio.sleep(20)
        standing = await watcher.standing(ONE)
        assert now() - began - 3.0 <= standing.still_s <= now() - began
        assert standing.lease == scene.shelf.leases[ONE]
        scene.shelf.mend(ONE)
        await asyncio.sleep(3)
        assert (await watcher.standing(ONE)).still_s <= 2.0
        await watcher.close()

    played(story)


def test_after_a_failure_to_read_nothing_is_known_to_stand_still() -> None:
    async def story(scene: Scene) -> None:
        watcher = Watcher(pool(TWO))
        await watcher.standing(ONE)
        scene.shelf.hang(ONE)
        await asyncio.sleep(20)
        scene.shelf.failing.add(TWO)
        await asyncio.sleep(2)
        with pytest.raises(Unavailable):
            await watcher.standing(ONE)
        scene.shelf.mend(TWO)
        await asyncio.sleep(2)
        assert (await watcher.standing(ONE)).still_s <= 2.0
        scene.shelf.hang(TWO)
        await asyncio.sleep(5)
        with pytest.raises(Unavailable):
            await watcher.standing(ONE)
        await watcher.close()

    played(story)


def test_a_torn_writing_moves_the_lease_and_leaves_what_was_read_before() -> None:
    class Torn(SimLeasehold):
        torn = False

        async def read(self, host: Any) -> Any:
            found = await super().read(host)
            return replace(found, mark=b"torn", lease=None) if self.torn else found

    async def story(scene: Scene) -> None:
        scene.shelf.hang(ONE)
        there = Torn({}, pool(TWO).seat)
        watcher = Watcher(there)
        await watcher.standing(ONE)
        await asyncio.sleep(10)
        there.torn = True
        await asyncio.sleep(2)
        standing = await watcher.standing(ONE)
        assert standing.still_s <= 2.0
        assert standing.lease == scene.shelf.leases[ONE]
        await asyncio.sleep(10)
        assert (await watcher.standing(ONE)).still_s >= 9.0
        await watcher.close()

    played(story)


def test_of_a_host_without_a_lease_nothing_is_said() -> None:
    async def story(scene: Scene) -> None:
        watcher = Watcher(pool(ONE))
        with pytest.raises(NotFound):
            await watcher.standing(TWO)
        scene.shelf.leases[TWO] = lease(1, TWO)
        await asyncio.sleep(2)
        assert (await watcher.standing(TWO)).lease == lease(1, TWO)
        await watcher.close()

    played(story)


# -- an order that slept ---------------------------------------------------------------------------


def test_an_answer_from_before_a_host_was_fenced_starts_nothing() -> None:
    """Its compute slept while it waited for the answer, and its host was fenced by its lease."""
    row = Host(
        id=ONE, name="h", zone=ZoneId("z"), pod=PodId("p"), cluster=ClusterId("c"), seen=Seen.UP
    )

    class Slow:
        rows = [row, replace(row, fenced=1.0)]

        async def get(self, kind: Any, id: str) -> Host:
            await asyncio.sleep(9.0)
            return self.rows.pop(0)

    async def whole() -> None:
        sim.forget_all()
        async with SimHypervisor({}, SEAT) as hypervisor:
            compute = HostCompute(ONE, hypervisor, Slow())  # type: ignore[arg-type]
            with pytest.raises(Conflict, match="was fenced"):
                await compute.ensure_running(tiny("1"))
            assert await hypervisor.survey() == {}

    simulate(whole())


# -- configuration ---------------------------------------------------------------------------------


def refused(**keeper: Any) -> str:
    with pytest.raises(Invalid) as refusal:
        Config({"keeper": keeper}).check(known_sections())
    return refusal.value.message


def test_others_wait_longer_than_guests_may_run() -> None:
    from roles.keeper.config import KeeperConfig

    assert "4 s longer" in refused(stale_seconds=14.0)
    assert "4 s longer" in refused(stale_seconds=20.0, lease_seconds=15.0)
    assert "4 s longer" in refused(stale_seconds=20.0, watchdog="/dev/watchdog")
    for keeper, watchdog_s, stale_s in (
        (KeeperConfig(), 0.0, 15.0),
        (KeeperConfig(watchdog="/dev/watchdog"), 10.0, 25.0),
        (KeeperConfig(watchdog="/dev/watchdog"), 60.0, 75.0),  # hardware that rounds up
        (KeeperConfig(stale_seconds=40.0), 0.0, 40.0),
    ):
        terms = keeper.terms(watchdog_s)
        assert (terms.stale_s, terms.armed) == (stale_s, watchdog_s > 0)
