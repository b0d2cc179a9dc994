"""An orchestrator that slept while others took its job over wakes up, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.data.store import Store
from csnode.faults import Stale
from csnode.model.fit import reservation
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.network import Network
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.saga.engine import Engine
from csnode.saga.saga import Step, sagas
from csnode.testing.cloud import SimCloud
from csnode.types import NodeId
from roles.orchestrator.config import OrchestratorConfig
from roles.orchestrator.work import Work
from tests.sim.conftest import World
from tests.sim.stories import idle_network, shut
from tests.sim.world import a_machine, agrees


class Sleeper:
    """Claims a job as an orchestrator without a lease would, and falls asleep before a step."""

    def __init__(self, cloud: SimCloud, step: str) -> None:
        store = Store(cloud.node.bus, "orchestrator", "sleeper")
        view = cloud.role("orchestrator").view
        engine = Engine(sagas(), cloud.node.bus, store, view)
        engine.hook = self._sleep
        self.work = Work(OrchestratorConfig(), NodeId("sleeper"), store, view, engine)
        self.work.accepting = False  # it takes the one job only
        self.step = step
        self.asleep, self.awake = asyncio.Event(), asyncio.Event()

    async def _sleep(self, moment: str, step: Step[Any]) -> None:
        if (moment, step.name) == ("before", self.step):
            self.asleep.set()
            await self.awake.wait()

    async def take(self, job: Job) -> None:
        await self.work._carry(job, self.work._claim)


async def asleep_before(cloud: SimCloud, step: str, job_id: str) -> tuple[Sleeper, Any]:
    """Somebody who claimed the job and sleeps, while the others have taken it over and ended it."""
    sleeper = Sleeper(cloud, step)
    sleeping = asyncio.create_task(sleeper.take(await cloud.store.get(Job, job_id)))
    await sleeper.asleep.wait()
    cloud.role("orchestrator").work.accepting = True
    assert (await cloud.wait(job_id))["jobstatus"] == 1
    return sleeper, sleeping


async def stopped_start(cloud: SimCloud, step: str) -> tuple[str, Sleeper, Any]:
    """A machine that was started, and stopped again, while the first who claimed its start sleeps
    before that step."""
    id = await a_machine(cloud)
    await cloud.settle("stopVirtualMachine", id=id)
    cloud.role("orchestrator").work.accepting = False
    accepted = await cloud.call("startVirtualMachine", id=id)
    sleeper, sleeping = await asleep_before(cloud, step, accepted["jobid"])
    assert (await cloud.settle("stopVirtualMachine", id=id))["jobstatus"] == 1
    return id, sleeper, sleeping


def test_who_wakes_up_in_a_start_takes_no_capacity(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id, sleeper, sleeping = await stopped_start(cloud, "host")
        before = await cloud.store.get(Vm, id)
        sleeper.awake.set()
        await sleeping
        assert await cloud.store.get(Vm, id) == before
        assert before.host is None
        hosts = {host.id for host in await cloud.store.find(Host)}
        tallies = [t for t in await cloud.store.find(Tally) if t.id in hosts]
        assert tallies
        assert not any(any(tally.used.values()) for tally in tallies)
        assert await agrees(cloud)

    world(story)


def test_who_wakes_up_in_a_start_builds_no_network(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id, sleeper, sleeping = await stopped_start(cloud, "routers")
        network = (await cloud.store.find(Network))[0]
        assert (await cloud.wait(await shut(cloud, network.id)))["jobstatus"] == 1
        before = await cloud.store.get(Network, network.id)
        assert (before.router, before.up) == (None, False)
        sleeper.awake.set()
        await sleeping
        assert await cloud.store.get(Network, network.id) == before
        assert (await cloud.store.get(Vm, id)).host is None
        assert await agrees(cloud, seconds=0)

    world(story)


def test_who_wakes_up_in_a_shutdown_takes_no_router_down(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await idle_network(cloud)
        cloud.role("orchestrator").work.accepting = False
        sleeper, sleeping = await asleep_before(cloud, "router", await shut(cloud, id))
        await a_machine(cloud)
        before = await cloud.store.get(Network, id)
        assert before.up
        sleeper.awake.set()
        await sleeping
        assert await cloud.store.get(Network, id) == before
        assert await agrees(cloud, seconds=0)

    world(story)


def test_a_commit_with_only_a_proof_changes_nothing_and_fails_if_it_is_false(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        vm = await cloud.store.get(Vm, id)
        right, wrong = cloud.store.change(), cloud.store.change()
        right.update(Vm, id, revision=vm.revision)
        await right.commit()
        wrong.update(Vm, id, revision=vm.revision - 1)
        with pytest.raises(Stale):
            await wrong.commit()
        assert await cloud.store.get(Vm, id) == vm

    world(story)


def test_who_wakes_up_in_a_stop_frees_nothing_of_a_machine_started_since(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        work = cloud.role("orchestrator").work
        work.accepting = False
        accepted = await cloud.call("stopVirtualMachine", id=id)
        sleeper = Sleeper(cloud, "capacity")
        job = await cloud.store.get(Job, accepted["jobid"])
        sleeping = asyncio.create_task(sleeper.take(job))
        await sleeper.asleep.wait()
        work.accepting = True
        assert (await cloud.wait(job.id))["jobstatus"] == 1
        assert (await cloud.settle("startVirtualMachine", id=id))["jobstatus"] == 1
        sleeper.awake.set()
        await sleeping
        vm = await cloud.store.get(Vm, id)
        assert vm.host is not None
        assert (await cloud.store.get(Tally, vm.host)).used == reservation(vm)

    world(story)
