"""Guest networks lead to every other host of the zone: those that came, not those that left."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from csnode.model.host import Host
from csnode.model.place import Zone
from csnode.testing.cloud import SimCloud
from csnode.uuids import new_id
from roles.network.drivers import sim as networks
from tests.sim.conftest import World

HERE = {"host": "sim", "address": "10.0.0.1"}
SOON_S = 5.0
A_SWEEP_S = 40.0


async def enrol(cloud: SimCloud, address: str, zone: str = "") -> Host:
    """Another machine's host appears in the records."""
    [own] = await cloud.store.find(Host, id=own_id(cloud))
    id = new_id()
    row = replace(own, id=id, name=id[:8], address=address, zone=zone or own.zone, revision=0)
    change = cloud.store.acting_as("monitor").change()
    change.create(row)
    await change.commit()
    return row


def own_id(cloud: SimCloud) -> str:
    return cloud.node.node.host_id


async def remove(cloud: SimCloud, row: Host) -> None:
    change = cloud.store.change()
    change.delete(Host, row.id)
    await change.commit()


def peers(cloud: SimCloud) -> set[str]:
    return networks.outside(own_id(cloud)).peers


def test_networks_lead_to_hosts_that_come_and_not_to_those_that_left(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        assert peers(cloud) == set()
        second = await enrol(cloud, "10.0.0.2")
        await enrol(cloud, "10.0.0.3")
        change = cloud.store.change()
        other = change.create(Zone(id=new_id(), name="another"))
        await change.commit()
        await enrol(cloud, "10.0.0.9", zone=other.id)
        await asyncio.sleep(SOON_S)
        assert peers(cloud) == {"10.0.0.2", "10.0.0.3"}
        await remove(cloud, second)
        await asyncio.sleep(SOON_S)
        assert peers(cloud) == {"10.0.0.3"}

    world(story, hosts=1, node=HERE)


def test_a_host_that_is_merely_down_stays(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        row = await enrol(cloud, "10.0.0.2")
        await asyncio.sleep(3600)
        assert (await cloud.store.get(Host, row.id)).seen != "Up"
        assert peers(cloud) == {"10.0.0.2"}

    world(story, hosts=1, node=HERE)


def test_a_sweep_leads_there_when_no_event_came(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await enrol(cloud, "10.0.0.2")
        await asyncio.sleep(SOON_S)
        networks.outside(own_id(cloud)).peers = {"10.0.0.77"}
        await asyncio.sleep(A_SWEEP_S)
        assert peers(cloud) == {"10.0.0.2"}

    world(story, hosts=1, node=HERE)


def test_a_process_started_again_leads_there_before_it_serves(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await enrol(cloud, "10.0.0.2")
        await cloud.crash()
        networks.outside(own_id(cloud)).peers = set()
        await cloud.start()
        assert peers(cloud) == {"10.0.0.2"}

    world(story, hosts=1, node=HERE)
