"""`verify` finds every kind of planted damage, repairs what is safe, and is silent otherwise."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from csnode.model.stock import Taken
from csnode.testing.cloud import SimCloud
from csnode.types import VmId, VolumeId
from csnode.verify import (
    books,
    disks,
    domains,
    jobs,
    leases,
    machines,
    networks,
    references,
    stock,
    tallies,
)
from csnode.verify.finding import Check
from csnode.verify.judge import Verdict, verify
from csnode.verify.repair import Hand, cured
from csnode.verify.rows import NAMES
from roles.compute.drivers import sim as hypervisors
from roles.storage.drivers import sim as pools
from tests.sim import damage as in_rows
from tests.sim import damage_outside as on_hosts
from tests.sim.conftest import World
from tests.sim.damage import a_network
from tests.sim.scene import DAMAGE, LOST, Damage, scene
from tests.sim.world import machines as machines_outside
from tests.sim.world import prepared

PLANTS = (in_rows, on_hosts)  # importing them fills DAMAGE
MODULES = (books, disks, domains, jobs, leases, machines, networks, references, stock, tallies)
CHECKS = {c.name for m in MODULES for c in vars(m).values() if isinstance(c, Check)}
IN_MEMORY: dict[str, Any] = {"data": {"path": ":memory:"}}


async def judge(cloud: SimCloud, pause_s: float | None = None) -> Verdict:
    return await verify(cloud.node.bus, cloud.store, pause_s)


def told(verdict: Verdict) -> str:
    return "\n".join(f"{f.check} {f.id}: {f.what}" for f in (*verdict.findings, *verdict.notes))


def planted(name: str) -> Damage:
    return next(damage for damage in DAMAGE if damage.name == name)


def test_every_check_has_a_damage_that_it_finds() -> None:
    assert {damage.check for damage in DAMAGE} == CHECKS
    assert len(DAMAGE) >= 30


@pytest.mark.parametrize("damage", [pytest.param(d, id=d.name) for d in DAMAGE])
def test_planted_damage_is_found_and_what_is_safe_is_cured(world: World, damage: Damage) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        before = await judge(cloud)
        assert not before.findings, told(before)
        await damage.plant(at)
        verdict = await judge(cloud)
        every = (*verdict.findings, *verdict.notes)
        named = [f for f in every if f.check == damage.check]
        assert named, told(verdict)
        assert all(f.cause and f.remedy and f.what and f.promise for f in every)
        assert any(f.repair is not None for f in named) == damage.cured
        if damage.cured:
            done, after = await cured(cloud.node.bus, cloud.store, verdict, None)
            assert any(one.did for one in done if one.finding.check == damage.check), done
            assert not after.findings, told(after)
            assert damage.check not in {f.check for f in after.notes}, told(after)

    world(story, **IN_MEMORY)


# -- clean worlds ----------------------------------------------------------------------------


async def lived(cloud: SimCloud, chance: random.Random, turns: int) -> list[str]:
    """Some machines, and a history; the ids of the jobs ordered, some of them still at work."""
    params = await prepared(cloud)
    ordered: list[str] = []
    for _ in range(turns):
        known = (await cloud.call("listVirtualMachines")).get("virtualmachine", [])
        verb = chance.choice(("deploy", "deploy", "stop", "start", "reboot", "destroy", "expunge"))
        if verb == "deploy" or not known:
            status, answer = await cloud.ask("deployVirtualMachine", **params)
        else:
            id = chance.choice(known)["id"]
            status, answer = await cloud.ask(f"{verb}VirtualMachine", id=id)
        if status == 200:
            ordered.append(answer["jobid"])
            await asyncio.sleep(chance.random() * 2)
    return ordered


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_world_with_a_history_has_no_finding(world: World, seed: int) -> None:
    async def story(cloud: SimCloud) -> None:
        for job in await lived(cloud, random.Random(seed), 14):
            await cloud.wait(job)
        verdict = await judge(cloud)
        assert not verdict.findings, told(verdict)
        assert verdict.looked_at["vms"] > 0

    world(story, seed=seed, **IN_MEMORY)


@pytest.mark.parametrize("seed", range(4))
def test_a_world_under_load_has_no_finding_while_it_moves(world: World, seed: int) -> None:
    async def story(cloud: SimCloud) -> None:
        busy = asyncio.create_task(lived(cloud, random.Random(seed), 30))
        seen_at_work = 0
        while not busy.done():
            verdict = await judge(cloud, 0.7)
            assert not verdict.findings, told(verdict)
            seen_at_work = max(seen_at_work, verdict.looked_at["at work"])
            await asyncio.sleep(0.3)
        assert seen_at_work
        for job in await busy:
            await cloud.wait(job)
        assert not (await judge(cloud)).findings

    slow = {"options": {"latency_s": 0.2}}
    world(story, seed=seed, compute=slow, storage=slow, network=slow, **IN_MEMORY)


def test_what_is_wrong_only_for_a_moment_is_not_told(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        pool = pools.outside(at.pool)
        pool.volumes[VolumeId(LOST)] = None
        judging = asyncio.create_task(judge(cloud, 2.0))
        await asyncio.sleep(1.0)
        del pool.volumes[VolumeId(LOST)]
        assert (await judging).clean
        pool.volumes[VolumeId(LOST)] = None
        assert not (await judge(cloud, 2.0)).clean

    world(story, **IN_MEMORY)


def test_judging_changes_nothing(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        for name in ("a_ghost_runs", "a_lock_is_left", "a_vni_is_taken_by_no_network"):
            await planted(name).plant(at)
        before = await cloud.store.data.head(NAMES)
        assert len((await judge(cloud)).findings) >= 3
        assert await cloud.store.data.head(NAMES) == before
        assert VmId(LOST) in hypervisors.outside(at.host).machines

    world(story, **IN_MEMORY)


# -- cures that come too late ----------------------------------------------------------------


def test_a_cure_for_a_machine_that_was_started_since_is_refused(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        await planted("a_stopped_machine_runs").plant(at)
        verdict = await judge(cloud)
        assert [f.check for f in verdict.findings] == ["domain-of-stopped"]
        assert (await cloud.settle("startVirtualMachine", id=at.halted.id))["jobstatus"] == 1
        done, after = await cured(cloud.node.bus, cloud.store, verdict, None)
        assert [bool(one.why) for one in done] == [True]
        assert after.clean, told(after)
        assert (await machines_outside(cloud))[at.halted.id] == "on"

    world(story, hosts=1, **IN_MEMORY)


def test_a_cure_for_a_count_that_moved_since_is_refused(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        await planted("a_host_is_counted_too_full").plant(at)
        verdict = await judge(cloud)
        await cloud.settle("stopVirtualMachine", id=at.vm.id)
        hand = Hand(cloud.node.bus, cloud.store, verdict.number, set())
        assert [(await hand.cure(f)).did for f in verdict.findings] == [""]

    world(story, **IN_MEMORY)


def test_what_an_owner_took_that_came_back_is_not_given_away(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        await planted("a_vni_is_taken_by_no_network").plant(at)
        verdict = await judge(cloud)
        await at.make(a_network(at, vni=0))
        hand = Hand(cloud.node.bus, cloud.store, verdict.number, set())
        assert [(await hand.cure(f)).did for f in verdict.findings] == [""]
        assert [t.owner for t in await cloud.store.find(Taken, owner=LOST)] == [LOST]

    world(story, **IN_MEMORY)


def test_a_disk_is_never_deleted(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        at = await scene(cloud)
        pool = pools.outside(at.pool)
        pool.volumes[VolumeId(LOST)] = None
        _, after = await cured(cloud.node.bus, cloud.store, await judge(cloud), None)
        assert after.clean
        assert [note.check for note in after.notes] == ["set-aside"]
        assert any(LOST in name for name in pool.aside)

    world(story, **IN_MEMORY)
