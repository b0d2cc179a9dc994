"""A job that an orchestrator believes to be its own, and that another has by now."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from csnode.model.job import Job
from csnode.testing.cloud import SimCloud
from tests.sim.conftest import World
from tests.sim.test_peers import another, opened
from tests.sim.world import prepared


def test_a_job_is_not_resumed_by_one_whose_view_is_behind(world: World) -> None:
    """It was cut off for a while: its view still has the job as its own, the row does not.

    Found by a virtual world (tenanted(446)): two orchestrators at one job, and a job stuck that
    was done.
    """

    async def story(cloud: SimCloud) -> None:
        first: Any = cloud.role("orchestrator")
        asked = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        assert (await cloud.wait(asked["jobid"]))["jobstatus"] == 1
        row = await cloud.store.get(Job, asked["jobid"])
        assert row.owner == first.work.me
        assert await first.work._resume(row) is not None
        second = another(cloud, "second")
        async with opened(second):
            assert await second.work._resume(replace(row, owner=second.work.me)) is None

    world(story)
