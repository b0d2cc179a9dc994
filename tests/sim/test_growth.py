"""A cloud that makes machines and destroys them for years holds no more than on its first day."""

from __future__ import annotations

import asyncio
import gc

from csnode.context import Fences, acting
from csnode.faults import Outdated
from csnode.model.network import Network
from csnode.testing.cloud import SimCloud
from tests.sim.conftest import World
from tests.sim.growth import entries
from tests.sim.world import first, prepared

CYCLES = 12
BOUNDED = (
    "Alone._cache",  # by bytes
    "Fences._highest",  # by a number of objects
    "Connection>",  # the statements that sqlite3 keeps prepared
)


async def cycles(cloud: SimCloud, count: int) -> None:
    """Each: a network, a machine in it, and nothing of both."""
    params = await prepared(cloud)
    offering = await first(cloud, "listNetworkOfferings")
    for n in range(count):
        made = await cloud.call(
            "createNetwork", name=f"n{n}", displaytext="n", zoneid=params["zoneid"],
            networkofferingid=offering["id"],
        )  # fmt: skip
        network = made["network"]["id"]
        job = await cloud.call("deployVirtualMachine", **params, networkids=network)
        assert (await cloud.wait(job["jobid"]))["jobstatus"] == 1
        await asyncio.sleep(31 if n % 4 == 0 else 0)  # a sweep sees some of them
        await cloud.settle("destroyVirtualMachine", id=job["id"], expunge="true")
        await asyncio.sleep(31 if n % 4 == 0 else 0)
        await cloud.settle("deleteNetwork", id=network)
    await cloud.call("deleteTemplate", id=params["templateid"])
    await asyncio.sleep(120)
    await cloud.role("api").forget_events()
    for kind in ("VirtualMachines", "Volumes", "Networks", "AsyncJobs", "Events"):
        await cloud.call(f"list{kind}", listall="true")
    assert not await cloud.store.find(Network)


def test_no_container_keeps_an_entry_for_each_machine_that_ever_was(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await cycles(cloud, CYCLES // 2)
        gc.collect()
        before = entries(cloud.node)
        await cycles(cloud, CYCLES)
        gc.collect()
        more = entries(cloud.node) - before
        grown = {way: by for way, by in more.items() if by >= CYCLES * 3 // 4}
        assert {way: by for way, by in grown.items() if not way.endswith(BOUNDED)} == {}

    short = {"job_keep_seconds": 60.0}
    world(story, hosts=2, orchestrator=short, api={"events_max": 10}, data={"feed_keep": 50})


def test_fences_are_remembered_of_the_objects_ordered_about_last() -> None:
    fences = Fences(keep=3)
    for number, object_id in enumerate("abcad", start=1):
        with acting(fence=number):
            fences.check(object_id)
    refused: list[str] = []
    for object_id in "acdb":
        try:
            with acting(fence=1):
                fences.check(object_id)
        except Outdated:
            refused.append(object_id)
    assert refused == ["a", "c", "d"], "b is forgotten"
