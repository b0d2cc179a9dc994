"""An orchestrator that slept while others took its job over wakes up, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.data.store import Store
from csnode.model.job import Job
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.saga.engine import Engine
from csnode.saga.saga import Step, sagas
from csnode.testing.cloud import SimCloud
from csnode.types import NodeId
from roles.orchestrator.config import OrchestratorConfig
from roles.orchestrator.work import Work
from tests.sim.conftest import World
from tests.sim.world import a_machine


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
        held = {"cpu": vm.cpus, "memory": vm.memory_mib, "vm": 1}
        assert (await cloud.store.get(Tally, vm.host)).used == held

    world(story)
