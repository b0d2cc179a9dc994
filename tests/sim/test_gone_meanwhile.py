"""A host, pool or network that leaves the cloud while a job is at work does not hold the job up."""

from __future__ import annotations

from typing import Any

from csnode.contracts.data import Commit, Count, Create
from csnode.data.change import Change
from csnode.faults import Refused
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job, JobState
from csnode.model.network import Network
from csnode.model.room import BYTES
from csnode.model.stock import Lock, Tally
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from tests.sim.conftest import World
from tests.sim.scene import anybody_writes, hindered
from tests.sim.stories import STORIES
from tests.sim.world import prepared

IMPLEMENT = b'"verb":"implement_network"'


async def leaves(cloud: SimCloud, *rows: Host | StoragePool | Network) -> None:
    change = cloud.store.change()
    for row in rows:
        change.delete(type(row), row.id)
    with anybody_writes():
        await change.commit()


def refusing(cloud: SimCloud, step: str, before: Any) -> None:
    """The step is refused once `before` is done."""

    async def hook(moment: str, at: Any) -> None:
        if (moment, str(at)) == ("after", step):
            await before()
            raise Refused("a test said no")

    cloud.role("orchestrator").engine.hook = hook


def test_a_network_whose_host_left_while_it_was_shut_down_is_no_stuck_job(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        told = STORIES["shutdown"]
        on = await told.ready(cloud)
        (network,) = await cloud.store.find(Network)
        assert network.router is not None
        host = await cloud.store.get(Host, network.router)
        pools = await cloud.store.find(StoragePool, host=host.id)
        refusing(cloud, "router", lambda: leaves(cloud, *pools, host))
        ended = await cloud.wait(await told.order(cloud, on))
        assert "a test said no" in str(ended["jobresult"])
        assert (await cloud.store.get(Job, ended["jobid"])).state is JobState.FAILED
        assert await cloud.store.find(Lock) == []
        assert (await cloud.store.get(Network, network.id)).router is None

    world(story)


def test_a_network_that_is_deleted_while_its_rest_is_ordered_is_no_stuck_job(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        told, gone = STORIES["evacuate"], list[Network]()
        on = await told.ready(cloud)

        async def unfinished(moment: str, step: Any) -> None:
            """The step is refused, and the network's router is lost before the rest is ordered."""
            if (moment, str(step)) == ("after", "routers"):
                raise Refused("a test said no")
            if (moment, str(step)) == ("undo", "routers"):
                (network,) = await cloud.store.find(Network)
                await cloud.store.acting_as("orchestrator").observe(Network, network.id, up=False)

        async def too_late(commit: Commit) -> None:
            for item in commit.changes:
                if isinstance(item, Create) and IMPLEMENT in item.row and not gone:
                    gone.extend(await cloud.store.find(Network))
                    await leaves(cloud, *gone)

        cloud.role("orchestrator").engine.hook = unfinished
        hindered(cloud).hinder(too_late)
        ended = await cloud.wait(await told.order(cloud, on))
        assert gone, "the network was there to be seen"
        assert "a test said no" in str(ended["jobresult"])
        assert (await cloud.store.get(Job, ended["jobid"])).state is JobState.FAILED
        assert await cloud.store.find(Lock) == []

    world(story)


def test_a_disk_whose_pool_left_as_it_was_chosen_goes_to_another(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        host, *_ = await cloud.store.find(Host)
        change = cloud.store.change()
        for pool in await cloud.store.find(StoragePool):
            change.update(StoragePool, pool.id, host=host.id)
        with anybody_writes():
            await change.commit()
        left: list[str] = []

        async def too_late(commit: Commit) -> None:
            for item in commit.changes:
                if isinstance(item, Count) and BYTES in item.by and not left:
                    left.append(item.owner)
                    await leaves(cloud, await cloud.store.get(StoragePool, item.owner))

        hindered(cloud).hinder(too_late)
        ended = await cloud.settle("deployVirtualMachine", **params)
        assert ended["jobstatus"] == 1, ended
        (volume,) = await cloud.store.find(Volume)
        assert volume.pool not in (None, *left)
        assert left
        job = await cloud.store.get(Job, ended["jobid"])
        assert not job.tried, "at the host that it had chosen"

    world(story)


def test_a_pool_that_a_migration_copies_into_is_not_deleted(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        told, answers = STORIES["migrate"], list[tuple[int, str]]()
        on = await told.ready(cloud)
        engine = cloud.role("orchestrator").engine

        async def hook(moment: str, at: Any) -> None:
            if (moment, str(at)) == ("after", "power"):
                (run,) = engine.runs.values()
                for spot in run.saga.results["spots"]:
                    pool = await cloud.store.get(StoragePool, spot.target)
                    assert pool.host is not None
                    for command, id in (("deleteStoragePool", pool.id), ("deleteHost", pool.host)):
                        status, said = await cloud.ask(command, id=id, forced="true")
                        answers.append((status, said["errortext"]))

        engine.hook = hook
        ended = await cloud.wait(await told.order(cloud, on))
        assert ended["jobstatus"] == 1, ended
        (pool, host) = answers
        assert pool[0] == host[0] == 431
        assert "has promised 2147483648 bytes to disks: a migration copies one there" in pool[1]

    world(story)


def test_a_migration_into_a_pool_that_left_as_it_was_chosen_fails_undone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        told, left = STORIES["migrate"], list[str]()
        on = await told.ready(cloud)
        engine = cloud.role("orchestrator").engine

        async def hook(moment: str, at: Any) -> None:
            if (moment, str(at)) == ("after", "spots"):
                run, *_ = engine.runs.values()
                change: Change = run.saga.change
                for item in change.items:
                    if isinstance(item, Count):
                        left.append(item.owner)
                        await leaves(cloud, await cloud.store.get(StoragePool, item.owner))

        engine.hook = hook
        ended = await cloud.wait(await told.order(cloud, on))
        assert left
        assert "no pool" in str(ended["jobresult"])
        job = await cloud.store.get(Job, ended["jobid"])
        assert (job.state, job.results.get("spots")) == (JobState.FAILED, None)
        assert await cloud.store.find(Lock) == []
        assert not [t for t in await cloud.store.find(Tally, id=left[0]) if t.used.get(BYTES)]

    world(story)
