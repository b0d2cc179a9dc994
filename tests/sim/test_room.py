"""A host has room by its MHz and memory, as CloudStack counts."""

from __future__ import annotations

from typing import Any

from csnode.model.fit import COUNTED
from csnode.model.host import Host
from csnode.model.stock import Tally
from csnode.testing.cloud import SimCloud
from tests.sim.conftest import World
from tests.sim.world import first, gone, machines, prepared, tear_down

SMALL: dict[str, Any] = {"hosts": 1, "compute": {"options": {"cpus": 4, "cpu_mhz": 2000}}}


async def the_host(cloud: SimCloud) -> Host:
    return (await cloud.store.find(Host))[0]


async def used(cloud: SimCloud) -> dict[str, int]:
    """What the host is counted for; none of anything has no row."""
    found = await cloud.store.find(Tally, id=(await the_host(cloud)).id)
    return found[0].used if found else dict.fromkeys(COUNTED, 0)


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
