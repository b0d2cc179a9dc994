"""A cluster or pod that is disabled gets nothing new, and what runs in it runs on."""

from __future__ import annotations

import pytest

from csnode.model.host import Host
from csnode.model.network import Network
from csnode.testing.cloud import SimCloud
from roles.compute.drivers import sim
from tests.sim.conftest import World
from tests.sim.stories import create_network, persistent
from tests.sim.world import a_machine, agrees, machines, prepared

UPDATES = {"cluster": "updateCluster", "pod": "updatePod"}


async def set_apart(cloud: SimCloud, host: Host) -> None:
    """The host in a pod and cluster of its own."""
    pod = (await cloud.call("createPod", zoneid=host.zone, name="apart"))["pod"]["id"]
    made = await cloud.call(
        "addCluster", zoneid=host.zone, podid=pod, clustername="apart",
        hypervisor="Simulator", clustertype="CloudManaged",
    )  # fmt: skip
    change = cloud.store.change()
    change.update(Host, host.id, pod=pod, cluster=made["cluster"][0]["id"])
    await change.commit()


@pytest.mark.parametrize("place", UPDATES)
def test_a_disabled_place_gets_no_machine_and_no_router_until_it_is_enabled(
    world: World, place: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        apart, *rest = sorted(await cloud.store.find(Host), key=lambda host: host.name)
        await set_apart(cloud, apart)
        params = await prepared(cloud)
        job = await cloud.settle("deployVirtualMachine", **params, hostid=rest[0].id)
        old = job["jobresult"]["virtualmachine"]["id"]

        shut = {"id": getattr(rest[0], place), "allocationstate": "Disabled"}
        await cloud.call(UPDATES[place], **shut)
        new = {await a_machine(cloud) for _ in range(4)}
        assert set(sim.outside(apart.id).machines) == new
        assert set(sim.outside(rest[0].id).machines) == {old}

        found = await cloud.call("findHostsForMigration", virtualmachineid=min(new))
        assert {host["unsuitablereason"] for host in found["host"]} == {
            f"is in a {place} that is disabled"
        }
        asked = {"virtualmachineid": min(new), "hostid": rest[1].id}
        refused = await cloud.settle("migrateVirtualMachine", **asked)
        assert refused["jobstatus"] == 2
        assert f"is in a {place} that is disabled" in refused["jobresult"]["errortext"]

        await cloud.call(UPDATES[place], **shut | {"allocationstate": "Enabled"})
        moved = await cloud.settle("migrateVirtualMachine", **asked)
        assert moved["jobresult"]["virtualmachine"]["hostid"] == rest[1].id
        assert await machines(cloud) == dict.fromkeys({old, *new}, "on")
        assert await agrees(cloud)

    world(story)


def test_a_routers_host_is_chosen_where_machines_may_come(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        apart, *rest = sorted(await cloud.store.find(Host), key=lambda host: host.name)
        await set_apart(cloud, apart)
        zone = await persistent(cloud)
        await cloud.call("updateCluster", id=rest[0].cluster, allocationstate="Disabled")
        for _ in range(4):
            job = await cloud.wait(await create_network(cloud, zone))
            network = job["jobinstanceid"]
            assert (await cloud.store.get(Network, network)).router == apart.id
            await cloud.settle("deleteNetwork", id=network)

        await cloud.call("updateHost", id=apart.id, allocationstate="Disable")
        job = await cloud.wait(await create_network(cloud, zone))
        assert job["jobstatus"] == 2
        said = job["jobresult"]["errortext"]
        assert f"{apart.name}: is disabled" in said
        assert all(f"{host.name}: is in a cluster that is disabled" in said for host in rest)

    world(story)
