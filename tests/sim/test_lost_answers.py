"""The answer to a commit is lost while the commit is still on its way to the disk."""

from __future__ import annotations

import asyncio

from csnode.contracts.data import Commit, Committed, Update
from csnode.faults import Unavailable
from csnode.model.job import Job, JobState
from csnode.testing.cloud import SimCloud
from tests.sim.conftest import World
from tests.sim.scene import hindered
from tests.sim.world import agrees, machines, prepared

DONE = b'"state":"done"'
SLOW_S = 1.0  # longer than it takes to ask again


def ends_a_job(commit: Commit) -> bool:
    updates = (item for item in commit.changes if isinstance(item, Update))
    return any(item.kind == Job.kind and DONE in item.columns for item in updates)


def test_a_job_that_is_done_is_not_undone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        cut: list[asyncio.Task[Committed]] = []

        async def written(commit: Commit) -> Committed:
            await asyncio.sleep(SLOW_S)
            return await cloud.store.data.commit(commit)

        async def lose_answer(commit: Commit) -> None:
            if cut:
                await asyncio.wait(cut)  # what is asked later is written later
            elif ends_a_job(commit):
                cut.append(asyncio.create_task(written(commit)))
                await asyncio.sleep(0.01)
                raise Unavailable("the connection was lost")

        hindered(cloud).hinder(lose_answer)
        accepted = await cloud.call("deployVirtualMachine", **params)
        await cloud.wait(accepted["jobid"])
        await asyncio.sleep(60)
        (lost,) = cut
        assert lost.result().number, "it was done"
        assert (await cloud.store.get(Job, accepted["jobid"])).state is JobState.DONE
        assert await machines(cloud) == {accepted["id"]: "on"}
        assert await agrees(cloud)

    world(story)
