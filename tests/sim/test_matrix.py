"""Every saga, every step, every mishap: each job ends, nothing is stuck, and nothing is left.

The matrix is made from the installed sagas, so a new one is in it the moment it exists; only its
story is to be told (tests/sim/stories.py).
"""

from __future__ import annotations

import os

import pytest

from csnode.model.job import Job
from csnode.saga.saga import sagas
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import HARMLESS, WHY, Injector, Mishap, every_step, mishaps_at
from tests.sim.ballast import is_counted_right, not_counted_anew, weigh
from tests.sim.late import arrives_late
from tests.sim.stage import Stage
from tests.sim.stories import STORIES
from tests.sim.world import agrees, gone, held, tear_down

SAGAS = sagas()
WITHOUT_ACTS = {
    "destroy-capacity",
    "destroy-disks",
    "destroy-expunge-capacity",
    "expunge-capacity",
    "fetch-pool",
    "implement-host",
    "migrate-home",
    "migrate-spots",
    "release-capacity",
    "release-host",
    "return-fenced",
    "return-left",
    "return-networks",
    "return-volumes",
    "shutdown-host",
    "shutdown-idle-host",
    "start-error-found",
    "start-found",
    "stop-capacity",
}
"""Steps that ask nobody for anything in their story: nothing of them can arrive late."""

BACK = {"deploy", "start", "start-error", "migrate", "fetch", "implement"}
"""Orders that leave the world as it was when they fail; the others go on from where they were."""

BY_NIGHT = {"start-error": (Mishap.REFUSED, Mishap.CRASH_AFTER)}
"""Stories of a saga that another tells, with the mishaps of every run; the night's has all."""

NIGHTLY = "NIGHTLY" in os.environ
MATRIX = [
    pytest.param(name, step, mishap, id=f"{name}-{step}-{mishap.name}")
    for name, told in STORIES.items()
    for step in every_step(SAGAS[told.verb])
    for mishap in mishaps_at(SAGAS[told.verb], step)
    if NIGHTLY or name not in BY_NIGHT or mishap in BY_NIGHT[name]
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
        with not_counted_anew():
            await weigh(cloud, 1)
            job_id = await told.order(cloud, on)
            ended = await cloud.wait(job_id)
            assert injector.done
            assert await is_counted_right(cloud)
            await weigh(cloud, -1)
        job = await cloud.store.get(Job, job_id)
        if mishap in HARMLESS:
            assert ended["jobstatus"] == 1, ended
        else:
            assert ended["jobstatus"] == 2, ended
            why = "cancelled by a test" if mishap is Mishap.CANCELLED else WHY.format(step)
            assert job.fault == why
        if mishap is Mishap.LATE:
            acts = await arrives_late(cloud, injector)
            assert bool(acts) is (f"{name}-{step}" not in WITHOUT_ACTS)
        if ended["jobstatus"] == 2 and name in BACK:
            assert await held(cloud) == before
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    stage.play(story)
