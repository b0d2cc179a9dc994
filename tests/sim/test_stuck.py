"""A stuck job has a way out: retried, released, or freed by `verify --repair`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.bus.local import LocalBus
from csnode.cli import job as cli
from csnode.contracts.compute import Compute
from csnode.faults import Conflict, Refused
from csnode.model.job import Job, JobState
from csnode.model.network import Network
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.saga.engine import no_hook
from csnode.saga.saga import sagas
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, VmId
from csnode.verify.judge import verify
from csnode.verify.repair import cured
from roles.compute.drivers import sim as hypervisors
from tests.sim.conftest import World
from tests.sim.scene import anybody_writes
from tests.sim.stories import STORIES, Story
from tests.sim.world import a_machine, agrees, disagreements


def _cases() -> list[tuple[str, str]]:
    """A story for each saga that can be undone, and the last step of it with an undo."""
    found: dict[str, tuple[str, str]] = {}
    for name, story in STORIES.items():
        steps = [s.name for s in sagas()[story.verb].steps() if s.undoing is not None]
        if steps:
            found.setdefault(story.verb, (name, steps[-1]))
    return [*found.values(), ("deploy", "host")]


CASES = _cases()


async def stuck(cloud: SimCloud, story: Story, step: str) -> Job:
    """The story's job, stuck because a test says no to that step and to its undo."""
    engine = cloud.role("orchestrator").engine
    id = await story.ready(cloud)

    async def hook(moment: str, at: Any) -> None:
        if str(at) == step and moment in ("after", "undo"):
            raise Refused(f"a test said no to {moment}")

    engine.hook = hook
    return await ended(cloud, await story.order(cloud, id), JobState.STUCK)


async def ended(cloud: SimCloud, id: str, state: JobState) -> Job:
    while (job := await cloud.store.get(Job, id)).open:
        await asyncio.sleep(0.5)
    assert job.state is state, job
    return job


@pytest.mark.parametrize(("name", "step"), CASES)
def test_a_stuck_job_that_is_retried_once_its_cause_is_mended_ends_undone(
    world: World, name: str, step: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES[name], step)
        shown = await cli.described(cloud.store, job.id)
        assert shown["blocked by"] == f"step {step} cannot be undone: a test said no to undo"
        assert f"csnode job retry {job.id}" in shown["way out"]
        await cli.retried(cloud.store, job.id)
        job = await ended(cloud, job.id, JobState.STUCK)
        assert job.fault.count("then undoing") == 1, "it tells of the last try"
        cloud.role("orchestrator").engine.hook = no_hook
        await cli.retried(cloud.store, job.id)
        job = await ended(cloud, job.id, JobState.FAILED)
        assert job.fault == "a test said no to after"
        assert await cloud.store.find(Lock) == []
        assert await agrees(cloud)

    world(story)


@pytest.mark.parametrize(("name", "step"), CASES)
def test_a_stuck_job_that_is_released_leaves_nothing_that_sweeps_and_repair_cannot_give_back(
    world: World, name: str, step: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES[name], step)
        await cli.released(cloud.store, job.id)
        job = await ended(cloud, job.id, JobState.FAILED)
        assert "released by an operator before all was undone" in job.fault
        assert await cloud.store.find(Lock) == []
        cloud.role("orchestrator").engine.hook = no_hook
        for vm in await cloud.store.find(Vm):
            gone = await cloud.settle("destroyVirtualMachine", id=vm.id, expunge="true")
            assert gone["jobstatus"] == 1, gone
        await asyncio.sleep(240)  # the sweeps have been round
        verdict = await verify(cloud.node.bus, cloud.store, None)
        _, verdict = await cured(cloud.node.bus, cloud.store, verdict, None)
        assert verdict.clean, verdict.findings

    world(story)


@pytest.mark.parametrize("mended", [True, False])
def test_repair_frees_a_stuck_job(world: World, mended: bool) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES["deploy"], "disks")
        if mended:
            cloud.role("orchestrator").engine.hook = no_hook
        verdict = await verify(cloud.node.bus, cloud.store, None)
        assert [f.check for f in verdict.findings if f.id == job.id] == ["job-stuck"]
        done, after = await cured(cloud.node.bus, cloud.store, verdict, None)
        did = [one.did for one in done if one.finding.check == "job-stuck"]
        assert did == ["had its undo tried again"] + (
            [] if mended else ["released it, for its undo was refused again"]
        )
        assert not [f for f in after.findings if f.check == "job-stuck"]
        cloud.role("orchestrator").engine.hook = no_hook
        destroyed = await cloud.settle("destroyVirtualMachine", id=job.object_id, expunge="true")
        assert destroyed["jobstatus"] == 1
        assert await agrees(cloud)

    world(story)


def test_the_job_of_a_machine_whose_network_is_gone_is_freed_by_a_retry(world: World) -> None:
    """As older databases have it: deleteNetwork and the deploy were both accepted."""

    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES["deploy"], "routers")
        (network,) = await cloud.store.find(Network)
        change = cloud.store.change()
        change.delete(Network, network.id)
        with anybody_writes():
            await change.commit()
        cloud.role("orchestrator").engine.hook = no_hook
        await cli.retried(cloud.store, job.id)
        await ended(cloud, job.id, JobState.FAILED)
        gone = await cloud.settle("destroyVirtualMachine", id=job.object_id, expunge="true")
        assert gone["jobstatus"] == 1, gone
        assert await agrees(cloud)

    world(story)


def test_a_machine_that_runs_on_two_hosts_is_not_let_go_of(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES["migrate"], "power")
        vm = await cloud.store.get(Vm, job.object_id)
        both = [hypervisors.outside(HostId(host)).machines for host in vm.maybe_on]
        assert len(both) == 2
        machine = next(held[VmId(vm.id)] for held in both if VmId(vm.id) in held)
        for held in both:
            held[VmId(vm.id)] = machine
        with pytest.raises(Conflict, match=r"runs on sim.* and sim.*; end all but one"):
            await cli.released(cloud.store, job.id)
        assert (await cloud.store.get(Job, job.id)).state is JobState.STUCK

    world(story)


def test_a_machine_that_may_run_on_a_host_that_cannot_be_asked_is_not_let_go_of(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES["start"], "power")
        (host,) = (await cloud.store.get(Vm, job.object_id)).maybe_on
        bus = cloud.node.bus
        assert isinstance(bus, LocalBus)
        serving = bus.server_of(Compute, host)
        assert serving is not None
        bus.retire(serving)
        with pytest.raises(Conflict, match=r"may run on host sim.*cannot be asked"):
            await cli.released(cloud.store, job.id)
        bus.serve(serving, at=(host,))
        assert await cloud.store.find(Lock), "it keeps its objects"
        await cli.released(cloud.store, job.id)
        await ended(cloud, job.id, JobState.FAILED)

    world(story)


def test_a_job_that_is_not_stuck_is_neither_retried_nor_released(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        (done, *_) = await cloud.store.find(Job, object_id=id)
        for way in (cli.retried, cli.released):
            with pytest.raises(Conflict, match="is not stuck: it is done"):
                await way(cloud.store, done.id)
        assert await disagreements(cloud) == []

    world(story)
