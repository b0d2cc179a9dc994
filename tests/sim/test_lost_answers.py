"""The answer to a commit is lost while the commit is still on its way to the disk."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.contracts.data import Commit, Committed, Update
from csnode.faults import Unavailable
from csnode.model.job import Job, JobState
from csnode.testing.cloud import SimCloud
from roles.data.alone import Alone
from roles.data.role import DataRole
from tests.sim.conftest import World
from tests.sim.world import agrees, machines, prepared

DONE = b'"state":"done"'
SLOW_S = 1.0  # longer than it takes to ask again


def ends_a_job(commit: Commit) -> bool:
    updates = (item for item in commit.changes if isinstance(item, Update))
    return any(item.kind == Job.kind and DONE in item.columns for item in updates)


def test_a_job_that_is_done_is_not_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, write = DataRole.commit, Alone.write
    cut: list[asyncio.Task[Committed]] = []

    async def lose_answer(role: DataRole, wanted: Commit) -> Committed:
        if cut or not ends_a_job(wanted):
            return await commit(role, wanted)
        cut.append(asyncio.ensure_future(commit(role, wanted)))
        await asyncio.sleep(0.01)
        raise Unavailable("the connection was lost")

    async def write_slowly(self: Alone, batch: Any) -> None:
        if cut and not cut[0].done():
            await asyncio.sleep(SLOW_S)
        await write(self, batch)

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        monkeypatch.setattr(DataRole, "commit", lose_answer)
        monkeypatch.setattr(Alone, "write", write_slowly)
        accepted = await cloud.call("deployVirtualMachine", **params)
        await cloud.wait(accepted["jobid"])
        await asyncio.sleep(60)
        assert len(cut) == 1
        assert (await cloud.store.get(Job, accepted["jobid"])).state is JobState.DONE
        assert await machines(cloud) == {accepted["id"]: "on"}
        assert await agrees(cloud)

    world(story)
