"""Every saga is cut off within its steps, after each act: what it began is finished or undone.

The matrix has its mishaps before and after a step; a step that writes a fact first and makes it
true afterwards can be cut in between, and nobody may believe the half of it.
"""

from __future__ import annotations

import os

import pytest

from csnode.saga.saga import sagas
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Cut, Interrupter, every_step
from tests.sim.late import arrives_late
from tests.sim.stage import Stage
from tests.sim.stories import STORIES
from tests.sim.world import agrees, gone, tear_down

SAGAS = sagas()
NIGHTLY = "NIGHTLY" in os.environ
ALWAYS = {
    "deploy": (Cut.CANCELLED,),
    "evacuate": (Cut.SILENT, Cut.CANCELLED),
    "implement": (Cut.CANCELLED,),
    "start-error": (Cut.CANCELLED,),
    "shutdown-idle": (Cut.CANCELLED,),
}
"""The cuts of each story that every run makes; the night's makes all of them."""

CASES = [
    pytest.param(name, cut, id=f"{name}-{cut.name}")
    for name in STORIES
    for cut in (tuple(Cut) if NIGHTLY else ALWAYS.get(name, ()))
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


async def cut_off(cloud: SimCloud, name: str, interrupter: Interrupter) -> None:
    """The story, cut off there; then nothing may be half of anything."""
    told = STORIES[name]
    on = await told.ready(cloud)
    interrupter.into(cloud.role("orchestrator").engine)
    ended = await cloud.wait(await told.order(cloud, on))
    interrupter.end()
    if interrupter.cut in (None, Cut.SILENT, Cut.CRASH):
        assert ended["jobstatus"] == 1, ended
    else:
        assert ended["jobstatus"] == 2, ended
        await arrives_late(cloud, interrupter)
    assert interrupter.done
    assert await agrees(cloud)
    await tear_down(cloud)
    assert await gone(cloud) == []


@pytest.mark.parametrize(("name", "cut"), CASES)
def test_a_saga_that_is_cut_off_after_an_act_leaves_nothing_half_made(
    stage: Stage, name: str, cut: Cut
) -> None:
    saga = SAGAS[STORIES[name].verb]
    counted = Interrupter(None, every_step(saga)[0], saga, 0)
    stage.play(lambda cloud: cut_off(cloud, name, counted))
    assert counted.acts or name == "release", "the story acts"
    for step, acts in counted.acts.items():
        for nth in range(1, acts + 1):
            interrupter = Interrupter(cut, step, saga, nth)
            try:
                stage.play(lambda cloud, it=interrupter: cut_off(cloud, name, it))
            except BaseException as error:
                error.add_note(f"{cut} after act {nth} of {acts} of step {step}")
                raise
