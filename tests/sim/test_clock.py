"""A cloud whose clocks are hours behind after a power failure works as if they were right."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from csnode.model.identity import Session, User
from csnode.model.job import Job
from csnode.model.stock import Lease
from csnode.testing.cloud import SimCloud
from csnode.testing.loop import SimLoop
from csnode.types import UserId
from roles.api.session import begin
from tests.sim.conftest import World
from tests.sim.world import a_machine, machines, prepared

HOURS = {"a quarter": 720.0, "two": 7200.0, "a day": 86400.0}


def set_back(seconds: float) -> None:
    """All wall clocks show an earlier time from now on."""
    cast("SimLoop", asyncio.get_running_loop()).epoch -= seconds


@pytest.mark.parametrize("behind", HOURS.values(), ids=HOURS)
def test_a_job_goes_on_though_the_clock_came_up_behind(world: World, behind: float) -> None:
    slow = {"options": {"latency_s": 0.5}}

    async def story(cloud: SimCloud) -> None:
        accepted = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        await asyncio.sleep(1.0)
        await cloud.crash()
        set_back(behind)
        await cloud.start()
        job = await cloud.wait(accepted["jobid"], seconds=60)
        assert job["jobstatus"] == 1, job
        assert await machines(cloud) == {accepted["id"]: "on"}

    world(story, compute=slow, storage=slow, network=slow)


def test_time_goes_on_from_where_the_database_was(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        before = max(lease.until for lease in await cloud.store.find(Lease))
        await cloud.crash()
        set_back(7200)
        await cloud.start()
        await asyncio.sleep(10)
        after = [lease.until for lease in await cloud.store.find(Lease)]
        assert before < max(after) < before + 60
        past = await cloud.store.data.history(await a_machine(cloud), "", 100)
        assert min(entry.at for entry in past) > before - 60

    world(story)


def test_what_is_made_later_is_dated_later(world: World) -> None:
    """Pauses, queues and what is to be forgotten go by these dates, at every process."""

    async def story(cloud: SimCloud) -> None:
        await a_machine(cloud)
        before = max(job.created for job in await cloud.store.find(Job))
        await cloud.crash()
        set_back(7200)
        await cloud.start()
        await a_machine(cloud)
        jobs = sorted(await cloud.store.find(Job), key=lambda job: job.created)
        assert jobs[-1].created > before
        assert jobs[-1].ended >= jobs[-1].created
        said = cloud.node.warnings()["cloud"]
        assert said == ["this machine's clock is 7200 s behind the data service's"]

    world(story)


def test_a_session_ends_in_time_though_the_clock_came_up_behind(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await a_machine(cloud)
        view = cloud.role("api").view
        user = next(u for u in view.all(User) if u.name == "admin")
        change = cloud.store.acting_as("api").change()
        begin(change, UserId(user.id), 60.0)
        await change.commit()
        await cloud.crash()
        set_back(7200)
        await cloud.start()
        await asyncio.sleep(1800)
        assert await cloud.store.find(Session) == []

    world(story)
