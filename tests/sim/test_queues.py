"""Thousands of jobs that wait: what they cost others, and what becomes of them at a restart."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.clock import wall
from csnode.model.entity import Entity
from csnode.model.job import Job, JobState
from csnode.model.orders import RebootVm
from csnode.model.stock import Lease
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from csnode.types import (
    AccountId,
    DomainId,
    HostId,
    OfferingId,
    PoolId,
    TemplateId,
    VmId,
    ZoneId,
)
from csnode.uuids import new_id
from roles.orchestrator.recount import Recount, gently
from tests.sim.conftest import World
from tests.sim.world import a_machine, prepared

NOISY = AccountId("00000000-0000-4000-8000-00000000abcd")


async def waiting(cloud: SimCloud, vm: str, count: int, account: AccountId | None) -> list[str]:
    """So many reboots that were ordered before there was a bound."""
    order = RebootVm(vm=VmId(vm))
    ids: list[str] = []
    while len(ids) < count:
        change = cloud.store.change()
        for _ in range(500):
            job = change.order(order, command="rebootVirtualMachine", account=account)
            ids.append(job.id)
        await change.commit()
    return ids


def test_a_cloud_that_starts_with_thousands_of_waiting_jobs_does_them_and_all_else(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        vm = await a_machine(cloud)
        params = await prepared(cloud)
        cloud.role("orchestrator").work.accepting = False
        mine = await waiting(cloud, vm, 1000, NOISY)
        await cloud.crash()
        await cloud.start()
        deployed = await cloud.settle("deployVirtualMachine", **params)
        assert deployed["jobstatus"] == 1
        left = [job for job in await cloud.store.find(Job) if job.open]
        assert left, "the deploy did not stand in their line"
        while any(job.open for job in await cloud.store.find(Job, state=JobState.WAITING)):
            await asyncio.sleep(5)
        while any(job.open for job in await cloud.store.find(Job)):
            await asyncio.sleep(1)
        ended = {job.id: job.state for job in await cloud.store.find(Job)}
        assert {ended[id] for id in mine} == {JobState.DONE}
        held = [x for x in await cloud.store.find(Lease) if x.holder and x.until > wall()]
        assert len([x for x in held if x.id.startswith("orchestrator/")]) == 1

    world(story, compute={"options": {"latency_s": 0.1}})


def test_a_sweep_over_thousands_of_rows_lets_others_have_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story() -> None:
        other = asyncio.create_task(others())
        rows = [Job(id=str(n), verb="", order={}) for n in range(5000)]
        assert [row async for row in gently(rows)] == rows
        assert turns >= 10
        other.cancel()

    asyncio.run(story())


def test_counting_thousands_of_machines_and_disks_lets_others_have_their_turn() -> None:
    turns = 0
    account, domain, zone = AccountId(new_id()), DomainId(new_id()), ZoneId(new_id())
    rows: dict[type[Entity], list[Entity]] = {
        Vm: [
            Vm(id=str(n), name="", cpus=1, memory_mib=1, host=HostId("h"), account=account,
               domain=domain, zone=zone, offering=OfferingId("o"), template=TemplateId("t"))
            for n in range(5000)
        ],
        Volume: [
            Volume(id=str(n), name="", size=1, pool=PoolId("p"), account=account, domain=domain,
                   zone=zone)
            for n in range(5000)
        ],
        Job: [Job(id=str(n), verb="", order={}) for n in range(5000)],
    }  # fmt: skip

    class Seen:
        """What a view would show."""

        def all(self, kind: type[Entity]) -> list[Entity]:
            return rows.get(kind, [])

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story() -> None:
        other = asyncio.create_task(others())
        store: Any = None  # no tally is wrong, so nothing is read or written
        view: Any = Seen()
        await Recount(store, view).turn()
        assert turns >= 30
        other.cancel()

    asyncio.run(story())


def test_an_account_with_slow_jobs_leaves_places_for_others(world: World) -> None:
    """Each machine has a line of its own, so all of these jobs could begin at once."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await cloud.settle("deployVirtualMachine", **params)
        change = cloud.store.change()
        for _ in range(200):  # of machines that are gone: each waits for its hosts' answer
            change.create(
                Job(
                    id=new_id(), verb="reboot_vm", order={"vm": new_id()}, account=NOISY,
                    needs=(f"vm:{new_id()}",), created=wall(),
                )
            )  # fmt: skip
        engine = cloud.role("orchestrator").engine
        release = asyncio.Event()

        async def hook(moment: str, step: object) -> None:
            if (moment, str(step)) == ("before", "power") and not release.is_set():
                noisy = [run for run in engine.runs.values() if run.job.account == NOISY]
                if any(run.step is step for run in noisy):
                    await release.wait()

        engine.hook = hook
        await change.commit()
        await asyncio.sleep(5)
        work = cloud.role("orchestrator").work
        assert len(work.running) == 8, "half of the places"
        deployed = await cloud.call("deployVirtualMachine", **params)
        while not (await cloud.store.get(Job, deployed["jobid"])).owner:
            await asyncio.sleep(0.1)
        assert len(work.running) >= 8, "none of the others had to end before it"
        release.set()
        assert (await cloud.wait(deployed["jobid"]))["jobstatus"] in (1, 2)
        while any(job.open for job in await cloud.store.find(Job)):
            await asyncio.sleep(1)

    world(story, orchestrator={"jobs_max": 16})
