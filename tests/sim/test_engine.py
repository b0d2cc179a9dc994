"""What the engine promises whatever a saga does."""

from __future__ import annotations

import asyncio

from csnode.clock import wall
from csnode.contracts.networking import Networking
from csnode.faults import NotFound, Outdated, Refused
from csnode.model.job import Job, JobState
from csnode.model.network import Network
from csnode.model.stock import Lock
from csnode.saga.engine import no_hook
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap
from csnode.types import NetworkId
from roles.orchestrator.sagas.deploy_vm import Deploy
from tests.sim.conftest import World
from tests.sim.world import a_machine, agrees, leases, machines, prepared, volumes

HERE_ONLY = {"places_max": 1}


def test_a_job_ends_even_if_its_last_word_cannot_be_written(world: World, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    async def failed(self: Deploy, why: str) -> None:
        raise NotFound("the row is gone")

    monkeypatch.setattr(Deploy, "failed", failed)  # pyright: ignore[reportUnknownMemberType]

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        Injector(Mishap.REFUSED, "power").into(cloud.role("orchestrator").engine)
        job = await cloud.settle("deployVirtualMachine", **params)
        assert job["jobstatus"] == 2
        assert await cloud.store.find(Lock) == []
        assert await machines(cloud) == {}

    world(story, orchestrator=HERE_ONLY)


def test_an_undo_that_is_refused_for_good_leaves_the_job_stuck_with_its_locks(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        engine = cloud.role("orchestrator").engine

        async def hook(moment: str, step: object) -> None:
            if str(step) == "disks" and moment in ("after", "undo"):
                raise Refused(f"a test said no to {moment}")

        engine.hook = hook
        accepted = await cloud.call("deployVirtualMachine", **params)
        await asyncio.sleep(60)
        job = await cloud.store.get(Job, accepted["jobid"])
        assert job.state is JobState.STUCK
        assert "undoing disks failed: a test said no to undo" in job.fault
        later = await cloud.settle("startVirtualMachine", id=accepted["id"])
        assert "is stuck with it" in later["jobresult"]["errortext"]
        assert [lock.id for lock in await cloud.store.find(Lock)] == [f"vm:{accepted['id']}"]

    world(story)


def test_a_bug_in_a_step_ends_the_job_and_undoes_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        engine = cloud.role("orchestrator").engine

        async def hook(moment: str, step: object) -> None:
            if (moment, str(step)) == ("after", "power"):
                raise ZeroDivisionError

        engine.hook = hook
        job = await cloud.settle("deployVirtualMachine", **params)
        assert job["jobstatus"] == 2
        assert job["jobresult"]["errortext"] == "an unexpected error"
        assert await machines(cloud) == {}
        assert await agrees(cloud)

    world(story)


def test_a_step_is_seen_to_have_begun_while_it_runs(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        accepted = await cloud.call("deployVirtualMachine", **params)
        seen: dict[str, float] = {}
        while (job := await cloud.store.get(Job, accepted["jobid"])).open:
            if job.started:
                assert [time.id for time in job.times] == list(job.started)
                assert [bool(t.ended) for t in job.times] == [
                    time.id in job.results for time in job.times
                ]
                at_work = job.times[-1]
                seen.setdefault(at_work.id, at_work.began)
                assert seen[at_work.id] == at_work.began <= wall()
            await asyncio.sleep(1)
        assert {"disks", "leases", "power"} <= set(seen)

    slow = {"options": {"latency_s": 5.0}}
    world(story, compute=slow, storage=slow, network=slow)


def test_what_a_step_said_is_refused_if_it_comes_again_after_the_undo(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        for step, said in (
            ("power", "Compute.ensure_running"),
            ("leases", "Networking.ensure_nic"),
            ("disks", "Storage.ensure_volume"),
        ):
            injector = Injector(Mishap.LATE, step)
            injector.into(cloud.role("orchestrator").engine)
            job = await cloud.settle("deployVirtualMachine", **params)
            assert job["jobstatus"] == 2
            answers = {late.method.name: fault for late, fault in await injector.replay()}
            assert isinstance(answers[said], Outdated)
            assert await machines(cloud) == {}
            assert await volumes(cloud) == []
            assert await leases(cloud) == []

    world(story, orchestrator=HERE_ONLY)


def test_a_job_of_a_saga_that_is_not_installed_waits_and_hurts_nobody(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        change = cloud.store.change()
        change.create(Job(id="odd", verb="paint_vm", order={}))
        await change.commit()
        await a_machine(cloud)
        assert (await cloud.store.get(Job, "odd")).open

    world(story)


def test_a_router_that_is_shut_down_between_two_steps_is_built_again(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await a_machine(cloud)  # makes the network
        engine = cloud.role("orchestrator").engine

        async def hook(moment: str, step: object) -> None:
            if (moment, str(step)) == ("before", "leases"):
                engine.hook = no_hook
                network = (await cloud.store.find(Network))[0]
                assert network.router
                router = cloud.node.bus.ask(Networking, at=network.router)
                await router.ensure_no_router(NetworkId(network.id))
                orchestrator = cloud.role("orchestrator").store
                await orchestrator.observe(Network, network.id, router=None, up=False)

        engine.hook = hook
        job = await cloud.settle("deployVirtualMachine", **params)
        assert job["jobstatus"] == 1, job
        network = (await cloud.store.find(Network))[0]
        assert network.router
        assert network.up

    world(story)
