"""What counts as proof that a host is off: an operator's own words, or its fencer's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from csnode.data.store import Store
from csnode.model.alert import Alert
from csnode.model.host import Host, Seen
from csnode.model.orders import FenceHost
from csnode.testing.cloud import SimCloud
from csnode.types import HostId
from roles.fabric.fencers import sim as fencers
from tests.sim.conftest import World

FENCER = {"fence": "sim"}


@pytest.fixture(autouse=True)
def switches() -> Iterator[None]:
    fencers.SimFencer.forget_outside()
    yield
    fencers.SimFencer.forget_outside()


async def fenced(cloud: SimCloud, word: str, seen: Seen) -> tuple[int, Host]:
    """Order it in the commit that says how the host is seen; how the job ended, and the row."""
    host = (await cloud.store.find(Host))[0]
    change = Store(cloud.node.bus, "monitor").change()
    change.update(Host, host.id, seen=seen)
    job = change.order(FenceHost(host=HostId(host.id), word=word))
    await change.commit()
    status = (await cloud.wait(job.id))["jobstatus"]
    return status, await cloud.store.get(Host, host.id)


@pytest.mark.parametrize("word", ["off", "the rack burnt down", "0"])
def test_an_operators_words_are_the_proof_whatever_they_are(world: World, word: str) -> None:
    async def story(cloud: SimCloud) -> None:
        status, host = await fenced(cloud, word, Seen.UP)
        assert (status, host.fence_proof) == (1, word)
        assert host.fenced
        assert fencers.outside(host.id).on, "nobody was asked"
        assert any(word in alert.text for alert in await cloud.store.find(Alert))

    world(story, fabric=FENCER)


def test_without_a_word_the_hosts_fencer_switches_it_off_and_is_the_proof(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        status, host = await fenced(cloud, "", Seen.DOWN)
        assert (status, host.fence_proof) == (1, f"the simulated switch of {host.name} is off")
        assert not fencers.outside(host.id).on

    world(story, fabric=FENCER)


def test_without_a_word_a_host_that_is_up_is_not_fenced(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        status, host = await fenced(cloud, "", Seen.UP)
        assert (status, host.fenced, host.fence_proof) == (2, 0.0, "")
        assert fencers.outside(host.id).on

    world(story, fabric=FENCER)
