"""Hosts lose the pool they share: their machines there stop by themselves, and run elsewhere once
their lease proves it. The judge is the hardware.

What any world may hold is tried by seeds; the stories beside them are told one by one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

import pytest

from csnode.model.alert import Alert
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.vm import Want
from csnode.testing.loop import simulate
from csnode.testing.survival import APART, Eye, hardware, prepared
from csnode.testing.tenancy import Tenancy, is_watched, leases, misfortunes, tenanted
from csnode.testing.world import World
from roles.fabric.fencers.lease import LeaseFencer
from roles.keeper.guard import Guard
from roles.keeper.guests import Guests
from tests.sim.test_host_failure import Cloud

SEEDS = range(400 if "NIGHTLY" in os.environ else 20)
LEASE_S, STOP_S, STALE_S = 8.0, 3.0, 15.0
WATCHED_S = STALE_S + 10.0  # with a watchdog that waits for 10 s


class Leased(Cloud):
    """A cloud whose hosts share one pool, and nothing that could switch a host off."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.pool = Tenancy(world)

    async def prepare(self) -> None:
        template = await self.first("listTemplates", templatefilter="all")
        zone = await self.first("listZones")
        self._about = {"zoneid": zone["id"], "templateid": template["id"]}
        self.kept = (await self.first("listServiceOfferings", name="kept"))["id"]
        self.plain = (await self.first("listServiceOfferings", name="Small Instance"))["id"]

    async def is_off(self, vm: str, seconds: float) -> bool:
        async def so() -> bool:
            return not self.on(vm)

        return await self.world.until(so, seconds, 0.05)

    async def alerted(self, words: str, seconds: float = 120) -> bool:
        async def so() -> bool:
            return any(words in alert.text for alert in await self.world.store.find(Alert))

        return await self.world.until(so, seconds, 0.5)


def played(
    story: Callable[[Leased], Awaitable[Any]], watchdog: bool = False, trust: bool = True
) -> None:
    """The story in a cloud with leases, with an eye on machines that run twice."""
    sections = hardware(0) | leases(watchdog)
    sections["fabric"] = {"fence": "lease", "trust_lease": trust and not watchdog}

    async def whole() -> None:
        async with World(1, APART, prepared(), sections) as world:
            with Eye(world):
                cloud = Leased(world)
                await cloud.prepare()
                await story(cloud)
            assert world.broken == []

    simulate(whole())


# -- any world -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_of_hosts_that_lose_their_pool_keeps_its_promises(seed: int) -> None:
    assert tenanted(seed).violations == ()


def test_the_seeds_hold_what_they_are_to_try() -> None:
    worlds = [misfortunes(seed, APART) for seed in SEEDS]
    cuts = [cut for _, cuts in worlds for cut in cuts]
    assert {cut.hangs for cut in cuts} == {True, False}
    assert {is_watched(seed) for seed in SEEDS} == {True, False}
    assert max(cut.lasts_s for cut in cuts) > WATCHED_S


def test_one_seed_is_one_story() -> None:
    assert tenanted(5).digest == tenanted(5).digest


# -- a host loses its pool -------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [True, False])
def test_machines_on_a_lost_pool_stop_in_time_and_others_know_why(hangs: bool) -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.plain)
        home = await cloud.home(vm)
        cloud.pool.cut(home, hangs)
        lost_at = cloud.world.loop.moment
        assert await cloud.is_off(vm, LEASE_S + STOP_S)
        assert cloud.world.loop.moment - lost_at > LEASE_S - 3.0
        assert await cloud.alerted(f"Host {home}: it lost pool san")

        async def stopped() -> bool:
            row = await cloud.vm(vm)
            return (row.want, row.host) == (Want.STOPPED, None)

        assert await cloud.world.until(stopped, 60)
        assert (await cloud.host(home)).seen is Seen.UP
        cloud.pool.mend(home)
        await asyncio.sleep(3)
        started = await cloud.ask("startVirtualMachine", id=vm)
        assert await cloud.ended(started["jobid"])
        await asyncio.sleep(60)
        assert len(cloud.on(vm)) == 1
        await cloud.at_peace()

    played(story)


def test_a_machine_to_be_kept_running_runs_again_once_its_host_has_the_pool() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.pool.cut(home)
        assert await cloud.is_off(vm, LEASE_S + STOP_S)
        await asyncio.sleep(60)
        cloud.pool.mend(home)

        async def runs() -> bool:
            return len(cloud.on(vm)) == 1

        assert await cloud.world.until(runs, 120)
        await asyncio.sleep(30)
        assert len(cloud.on(vm)) == 1
        await cloud.at_peace()

    played(story)


def test_a_pool_that_is_back_in_time_stops_nothing() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.plain)
        home = await cloud.home(vm)
        for _ in range(5):
            cloud.pool.cut(home)
            await asyncio.sleep(LEASE_S - 3.0)
            assert cloud.on(vm) == [home]
            cloud.pool.mend(home)
            await asyncio.sleep(3.0)
        await asyncio.sleep(30)
        assert cloud.on(vm) == [home]

    played(story)


def test_without_csnode_and_control_plane_guests_run_on_while_their_pool_is_there() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.world.crash(home)
        for name in ("data", "api-1", "orc-1", "orc-2", "watch-1", "watch-2"):
            await cloud.world.crash(name)
        await asyncio.sleep(600)
        assert cloud.on(vm) == [home]

    played(story, watchdog=True)


def test_a_keeper_that_slept_through_its_lease_stops_machines_before_it_renews() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.plain)
        home = await cloud.home(vm)
        cloud.world.pause(f"{home}.keeper")
        await asyncio.sleep(LEASE_S + 4.0)
        assert cloud.on(vm) == [home]
        cloud.world.resume(f"{home}.keeper")
        assert await cloud.is_off(vm, STOP_S)

    played(story)


# -- proof -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("watchdog", [True, False])
def test_a_host_that_lost_network_and_pool_is_proven_off_its_machines(watchdog: bool) -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        cloud.pool.cut(home)
        assert await cloud.runs_elsewhere(vm, home, 180)
        host = await cloud.host(home)
        assert "its lease on san stands still" in host.fence_proof
        assert cloud.power.switch(home).on
        cloud.pool.mend(home)
        cloud.world.part()
        assert await cloud.seen(home, Seen.UP, 120)
        await cloud.at_peace()

    played(story, watchdog)


def test_a_host_without_power_is_proven_off_its_machines() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.power.cut(home)
        assert await cloud.runs_elsewhere(vm, home, 180)

    played(story, watchdog=True)


def test_a_host_that_lost_its_network_only_is_not() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(300)
        assert cloud.on(vm) == [home]
        assert (await cloud.host(home)).fenced == 0.0
        assert await cloud.alerted("is renewed")
        cloud.world.part()
        assert await cloud.seen(home, Seen.UP)
        await cloud.at_peace()

    played(story)


def test_without_watchdog_and_trust_a_lease_that_stands_still_is_no_proof() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        cloud.pool.cut(home)
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(300)
        assert (await cloud.host(home)).fenced == 0.0
        assert cloud.on(vm) == []
        assert await cloud.alerted("has no watchdog")

    played(story, trust=False)


def test_a_keeper_that_took_its_leases_back_in_good_order_proves_nothing() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        keeper = cloud.world.processes[f"{home}.keeper"]
        assert keeper.node is not None
        keeper.node.stop()
        await asyncio.sleep(30)
        assert cloud.on(vm) == [home]
        cloud.cut_off(home)
        cloud.pool.cut(home)
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(300)
        assert cloud.on(vm) == [home]
        assert (await cloud.host(home)).fenced == 0.0
        assert await cloud.alerted("guards nothing")

    played(story, watchdog=True)


def test_a_machine_with_a_disk_on_its_hosts_own_pool_is_named() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        pool = (await cloud.world.store.find(StoragePool))[0]
        cloud.cut_off(home)
        cloud.pool.cut(home)
        change = cloud.world.store.change()
        change.update(StoragePool, pool.id, host=(await cloud.host(home)).id)
        await change.commit()
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(120)
        assert (await cloud.host(home)).fenced == 0.0
        name = (await cloud.vm(vm)).name
        assert await cloud.alerted(f"{name} has a disk on pool san, which is its host's own")

    played(story)


def test_a_reader_that_lost_the_pool_itself_vouches_for_nobody() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        for host in await cloud.world.store.find(Host):
            cloud.pool.cut(host.name)
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(120)
        assert (await cloud.host(home)).fenced == 0.0
        assert await cloud.alerted("no other host can say")

    played(story)


# -- watchdogs -------------------------------------------------------------------------------------


def test_a_host_whose_keeper_died_is_reset_by_its_watchdog() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        await cloud.world.crash(f"{home}.keeper")
        assert await cloud.is_off(vm, 12)
        await asyncio.sleep(120)
        assert (await cloud.host(home)).fenced == 0.0  # it is back, and renews its lease
        cloud.world.part()

        async def runs() -> bool:
            return len(cloud.on(vm)) == 1

        assert await cloud.world.until(runs, 120)
        await cloud.at_peace()

    played(story, watchdog=True)


def test_a_keeper_that_is_started_again_at_once_lets_guests_run_on() -> None:
    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.plain)
        home = await cloud.home(vm)
        for _ in range(5):
            await cloud.world.crash(f"{home}.keeper")
            await asyncio.sleep(4)
            cloud.world.start(f"{home}.keeper")
            await asyncio.sleep(20)
        assert cloud.on(vm) == [home]

    played(story, watchdog=True)


def test_a_host_whose_guests_cannot_be_stopped_is_reset() -> None:
    async def refused(*_: object) -> bool:
        return False

    async def story(cloud: Leased) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        with patch.object(Guests, "stop", refused):
            cloud.pool.cut(home)
            assert await cloud.is_off(vm, LEASE_S + STOP_S + 11.0)
        assert await cloud.runs_elsewhere(vm, home, 180)

    played(story, watchdog=True)


# -- and what the worlds would find ----------------------------------------------------------------


async def _for_ever(_: object) -> None:
    await asyncio.Event().wait()


def _at_once(*_: object) -> float:
    return 0.0


@pytest.mark.nightly
@pytest.mark.parametrize(
    "sabotage",
    [patch.object(Guard, "watch", _for_ever), patch.object(LeaseFencer, "_left", _at_once)],
    ids=["nobody stops what lost its pool", "a lease is believed without its standing still"],
)
def test_worlds_find_a_double_run_without(sabotage: Any) -> None:
    with sabotage:
        assert any("runs on" in said for seed in SEEDS for said in tenanted(seed).violations)
