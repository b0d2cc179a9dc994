"""Hosts fail in every way at once, and no machine ever runs twice; 10,000 worlds: `make nightly`.

What such worlds found is told again here, without their seeds. Worlds that pass prove something
only if they fail when csnode is broken on purpose: the sabotage at the end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest

from csnode.contracts.compute import Compute
from csnode.drivers.hypervisor import Hypervisor, Sighting
from csnode.faults import Refused, Unavailable
from csnode.model.host import Seen
from csnode.model.vm import Want
from csnode.testing.calamity import DRIFT, Calamity, Ill, forecast
from csnode.testing.hypervisor import tiny
from csnode.testing.loop import OWNER, SimLoop, simulate
from csnode.testing.survival import HOSTS, SHAPES, survived
from csnode.testing.trial import Outcome
from csnode.types import Power
from roles.fabric.fence import HostPower
from roles.orchestrator.sagas.start_vm import Start
from tests.sim.test_host_failure import Cloud, played

SEEDS = range(24)


# -- any world -------------------------------------------------------------------------------------


@cache
def outcome(seed: int) -> Outcome:
    """What came of that seed, for all tests here that ask."""
    return survived(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_of_failing_hosts_keeps_its_promises(seed: int) -> None:
    assert outcome(seed).violations == ()


def test_nearly_every_world_fences_a_host_starts_its_machines_anew_and_takes_it_back() -> None:
    done = [Counter({v: n["done"] for v, n in outcome(s).ledger.sagas.items()}) for s in SEEDS]
    fencing = sum(bool(counts["fence_host"]) for counts in done)
    assert fencing * 10 >= len(SEEDS) * 9, done
    assert sum(bool(counts["return_host"]) for counts in done) == fencing
    assert sum(counts["release_vm"] for counts in done) >= len(SEEDS)


def test_one_seed_is_one_story() -> None:
    assert survived(4).digest == survived(4).digest
    assert survived(4).digest != survived(7).digest


def test_forecasts_know_every_kind_of_calamity() -> None:
    drawn = {c.ill for seed in range(200) for c in forecast(seed, list(SHAPES[0]), HOSTS)}
    assert drawn == set(Ill)


@pytest.mark.parametrize("ill", Ill)
def test_every_calamity_strikes_where_it_is_told_to(ill: Ill) -> None:
    whom = {
        Ill.CRASH: ("host-1",), Ill.PAUSE: ("host-1",), Ill.KEEPER_CRASH: ("host-1.keeper",),
        Ill.BETWEEN: ("host-1", "data"), Ill.SPLIT: ("host-1", "host-2", "host-3", "data"),
    }.get(ill, ("host-1",))  # fmt: skip
    calamities = [Calamity(at=5.0, ill=ill, lasts_s=8.0, whom=whom, much=0.5)]
    if ill is Ill.RETURN:
        dark = Calamity(at=1.0, ill=Ill.BLACKOUT, lasts_s=30.0, whom=("host-1",))
        calamities = [dark, *calamities]
    calm, struck = survived(1, [], SHAPES[0]), survived(1, calamities, SHAPES[0])
    assert calm.violations == struck.violations == ()
    if ill not in (Ill.SKEW, Ill.RETURN):
        assert struck.story != calm.story
    expected = "host-1" if ill not in (Ill.LOSS, Ill.SLOWNESS, Ill.ECHO, Ill.STALL) else str(ill)
    told = [line for line in struck.story.splitlines() if " world " in line or " fate " in line]
    assert any(expected in line for line in told[len(SHAPES[0]) :])


def test_clocks_that_drift_measure_by_themselves() -> None:
    async def whole() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.drift["fast"] = DRIFT

        async def waits() -> float:
            began = loop.time()
            await asyncio.sleep(100.0)
            return loop.time() - began

        async def fast() -> float:
            OWNER.set("fast")
            return await waits()

        measured = await asyncio.create_task(fast())
        assert measured == pytest.approx(100.0)
        assert loop.moment == pytest.approx(100.0 / (1 + DRIFT))
        assert await waits() == pytest.approx(100.0)

    simulate(whole())


# -- what they found -------------------------------------------------------------------------------


async def _refused(*_: Any) -> Any:
    raise Refused("a test said no")


def test_nothing_starts_on_a_fenced_host_before_it_is_taken_back() -> None:
    """An order from before the host failed is tried again until somebody answers there."""

    async def story(cloud: Cloud) -> None:
        await cloud.deploy(cloud.plain)  # the pool has the image
        asked = await cloud.order(cloud.kept)
        vm = str(asked["id"])

        async def placed() -> bool:
            return (await cloud.vm(vm)).host is not None

        assert await cloud.world.until(placed, 30, 0.05)
        home = await cloud.home(vm)
        await cloud.power.cut(home)

        async def fenced() -> bool:
            return bool((await cloud.host(home)).fenced)

        assert await cloud.world.until(fenced, 60, 0.05)
        outside = cloud.world.outside(Hypervisor, cloud.power.host(home))
        came: list[str] = []

        def note(seen: Sighting) -> None:
            if seen.power is Power.ON:
                came.append(seen.vm)

        outside.listeners[note] = None
        await cloud.power.restore(home)
        while await fenced():
            assert came == []
            await asyncio.sleep(0.05)
        assert not await cloud.ended(asked["jobid"])
        await asyncio.sleep(30)
        assert came == []
        await cloud.at_peace()

    played(story, compute={"options": {"latency_s": 3.0}})


def test_a_host_that_counts_as_down_starts_nothing() -> None:
    """It may be proven off any moment, by a proof from before it came back."""

    async def story(cloud: Cloud) -> None:
        home, host = "host-1", cloud.power.host("host-1")
        cloud.power.switch(home).answers = False
        cloud.cut_off(home)
        assert await cloud.seen(home, Seen.DOWN)
        await cloud.world.crash("watch-1")
        await cloud.world.crash("watch-2")
        cloud.world.part()
        await asyncio.sleep(20)
        door = cloud.world.role("orc-1", "orchestrator").bus.ask(Compute, at=host)
        with pytest.raises(Unavailable, match="counts as Down"):
            await door.ensure_running(tiny("1"))
        assert await door.survey() == {}
        cloud.world.start("watch-1")
        assert await cloud.seen(home, Seen.UP)
        assert await door.ensure_running(tiny("1")) is Power.ON

    played(story)


def test_a_start_that_finds_its_machine_running_and_fails_leaves_it_running() -> None:
    """Two orders to start it, one behind the other; the second fails half way."""

    async def story(cloud: Cloud) -> None:
        asked = await cloud.order(cloud.kept)
        vm = str(asked["id"])
        again = await cloud.ask("startVirtualMachine", id=vm)
        with patch.object(Start.__dict__["leases"], "do", _refused):
            assert await cloud.ended(asked["jobid"])
            assert not await cloud.ended(again["jobid"])
        home = await cloud.home(vm)
        assert cloud.on(vm) == [home]
        await asyncio.sleep(120)
        row = await cloud.vm(vm)
        assert cloud.on(vm) == [home]
        assert (row.want, row.maybe_on) == (Want.RUNNING, (row.host,))
        await cloud.at_peace()

    played(story)


# -- and what they would find ----------------------------------------------------------------------


def test_worlds_find_a_host_whose_machines_start_elsewhere_without_its_being_off() -> None:
    async def believed(*_: object) -> str:
        return "a sabotage says that it is off"

    with patch.object(HostPower, "fence", believed):
        assert any("runs on" in said for seed in SEEDS for said in survived(seed).violations)
