"""A host has room by its MHz and memory, as CloudStack counts; tallies that are wrong heal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from csnode.data.store import Store
from csnode.model.entity import Entity
from csnode.model.fit import COUNTED, reservation
from csnode.model.host import Host
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from roles.orchestrator.recount import Recount
from tests.sim.conftest import World
from tests.sim.world import a_machine, first, gone, machines, prepared, tear_down

SMALL: dict[str, Any] = {"hosts": 1, "compute": {"options": {"cpus": 4, "cpu_mhz": 2000}}}
E = TypeVar("E", bound=Entity)


async def the_host(cloud: SimCloud) -> Host:
    return (await cloud.store.find(Host))[0]


async def used(cloud: SimCloud) -> dict[str, int]:
    """What the host is counted for; none of anything has no row."""
    found = await cloud.store.find(Tally, id=(await the_host(cloud)).id)
    return found[0].used if found else dict.fromkeys(COUNTED, 0)


async def drift(cloud: SimCloud, **by: int) -> None:
    """Count as a csnode does that counts otherwise."""
    change = cloud.store.change()
    change.count((await the_host(cloud)).id, by)
    await change.commit()


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await fact():
            await asyncio.sleep(1)


def test_a_host_of_four_processors_runs_sixteen_machines_of_a_quarter_each(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        asked = [await cloud.call("deployVirtualMachine", **params) for _ in range(17)]
        ended = [await cloud.wait(job["jobid"]) for job in asked]
        assert sorted(job["jobstatus"] for job in ended) == [1] * 16 + [2]
        assert len(await machines(cloud)) == 16
        counted = await used(cloud)
        assert (counted["cpu"], counted["mhz"], counted["vm"]) == (16, 8000, 16)
        host = await first(cloud, "listHosts", type="Routing")
        assert (host["cpuallocatedvalue"], host["cpuallocated"]) == (8000, "100.00%")
        assert host["hasenoughcapacity"] is False
        again = await cloud.settle("deployVirtualMachine", **params)
        assert "needs 500 MHz, 0 of 8000 are free" in again["jobresult"]["errortext"]
        cluster = await first(cloud, "listClusters")
        await cloud.call("updateCluster", id=cluster["id"], cpuovercommitratio="1.0625")
        assert (await cloud.settle("deployVirtualMachine", **params))["jobstatus"] == 1
        assert (await used(cloud))["mhz"] == 8500
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, **SMALL)


def test_a_machine_with_more_processors_than_any_host_is_refused_with_that_reason(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        wide = await cloud.call(
            "createServiceOffering", name="wide", displaytext="wide",
            cpunumber="5", cpuspeed="100", memory="128",
        )  # fmt: skip
        params["serviceofferingid"] = wide["serviceoffering"]["id"]
        refused = await cloud.settle("deployVirtualMachine", **params)
        assert "needs 5 CPUs, the host has 4" in refused["jobresult"]["errortext"]

    world(story, **SMALL)


def test_a_tally_that_a_csnode_of_before_counted_without_mhz_heals(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        right = reservation(await cloud.store.get(Vm, id))
        assert await used(cloud) == right
        await drift(cloud, mhz=-500)  # one that was started by a csnode of wire 3

        async def healed() -> bool:
            return await used(cloud) == right

        await until(healed)
        await cloud.settle("stopVirtualMachine", id=id)
        await drift(cloud, mhz=500)  # and one that was stopped by it

        async def free() -> bool:
            return not any((await used(cloud)).values())

        await until(free)

    world(story, **SMALL)


def test_a_tally_that_is_lost_is_counted_anew(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        right = reservation(await cloud.store.get(Vm, await a_machine(cloud)))
        change = cloud.store.change()
        change.delete(Tally, (await the_host(cloud)).id)
        await change.commit()

        async def healed() -> bool:
            return await used(cloud) == right

        await until(healed)

    world(story, **SMALL)


class Slow(Store):
    """A store whose answer about machines is old by the time that it comes."""

    def __init__(self, store: Store, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(store.bus, store.role, store.node)
        self._meanwhile = meanwhile

    async def find(self, kind: type[E], **keys: Any) -> list[E]:
        rows = await super().find(kind, **keys)
        if issubclass(kind, Vm):
            await self._meanwhile()
        return rows


def test_a_tally_that_changes_while_it_is_counted_anew_is_left_to_the_next_sweep(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        view = cloud.role("orchestrator").view
        await drift(cloud, mhz=123)
        await view.fresh()

        async def stop() -> None:
            assert (await cloud.settle("stopVirtualMachine", id=id))["jobstatus"] == 1

        await Recount(Slow(cloud.store, stop), view).turn()
        assert await used(cloud) == {"cpu": 0, "mhz": 123, "memory": 0, "vm": 0}
        await view.fresh()
        await Recount(cloud.store, view).turn()
        assert await used(cloud) == {"cpu": 0, "mhz": 0, "memory": 0, "vm": 0}

    world(story, **SMALL)
