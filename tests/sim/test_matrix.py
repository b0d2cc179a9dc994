"""Every saga, every step, every mishap: each job ends, nothing is stuck, and nothing is left.

The matrix is made from the installed sagas, so a new one is in it the moment it exists; only its
story is to be told (tests/sim/stories.py).
"""

from __future__ import annotations

import pytest

from csnode.faults import Outdated, Stale
from csnode.model.job import Job
from csnode.saga.saga import sagas
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import HARMLESS, WHY, Injector, Mishap, every_step, has_undo, mishaps_at
from tests.sim.stage import Stage
from tests.sim.stories import STORIES
from tests.sim.world import agrees, gone, held, tear_down

SAGAS = sagas()
BUILDING = (
    "Compute.ensure_moved",
    "Compute.ensure_running",
    "Networking.ensure_nic",
    "Storage.ensure_image",
    "Storage.ensure_volume",
)
BACK = {"deploy", "start", "migrate", "fetch", "implement"}
"""Orders that leave the world as it was when they fail; the others go on from where they were."""

MATRIX = [
    pytest.param(name, step, mishap, id=f"{name}-{step}-{mishap.name}")
    for name, told in STORIES.items()
    for step in every_step(SAGAS[told.verb])
    for mishap in mishaps_at(SAGAS[told.verb], step)
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


def test_every_saga_of_ours_has_a_story() -> None:
    ours = {verb for verb, saga in SAGAS.items() if saga.__module__.startswith("roles.")}
    assert {told.verb for told in STORIES.values()} == ours


@pytest.mark.parametrize(("name", "step", "mishap"), MATRIX)
def test_the_job_ends_and_the_world_is_whole(
    stage: Stage, name: str, step: str, mishap: Mishap
) -> None:
    told = STORIES[name]
    saga = SAGAS[told.verb]

    async def story(cloud: SimCloud) -> None:
        on = await told.ready(cloud)
        injector = Injector(mishap, step, saga)
        injector.into(cloud.role("orchestrator").engine)
        before = await held(cloud)
        job_id = await told.order(cloud, on)
        ended = await cloud.wait(job_id)
        assert injector.done
        job = await cloud.store.get(Job, job_id)
        if mishap in HARMLESS:
            assert ended["jobstatus"] == 1, ended
        else:
            assert ended["jobstatus"] == 2, ended
            why = "cancelled by a test" if mishap is Mishap.CANCELLED else WHY.format(step)
            assert job.fault == why
        if mishap is Mishap.LATE:
            await arrives_late(injector, has_undo(saga, step))
        if ended["jobstatus"] == 2 and name in BACK:
            assert await held(cloud) == before
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    stage.play(story)


async def arrives_late(injector: Injector, undone: bool) -> None:
    """What the step said comes once more. If it was undone, nobody may obey."""
    for said, fault in await injector.replay():
        if said == "Data.commit":
            assert isinstance(fault, Stale), (said, fault)
        elif undone and said in BUILDING:
            assert isinstance(fault, Outdated), (said, fault)
