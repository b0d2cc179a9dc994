"""A network whose router is named and does not serve is mended by the sweep, whoever left it so."""

from __future__ import annotations

import asyncio

from csnode.data.store import Store
from csnode.model.alert import Alert
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.network import Network
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from roles.network.drivers import sim
from roles.orchestrator.tidy import HALF_MADE_S
from tests.sim.conftest import World
from tests.sim.world import a_machine, agrees, gone, tear_down


async def half_made(cloud: SimCloud, at: str) -> Network:
    """A network that a machine runs in, and that its row has at another host, not up."""
    await a_machine(cloud)
    (network,) = await cloud.store.find(Network)
    await left_half_made(cloud, network, at)
    return network


async def left_half_made(cloud: SimCloud, network: Network, at: str) -> None:
    """As an evacuation leaves it that is called off before the router is built."""
    change = Store(cloud.node.bus, "orchestrator").change()
    change.update(Network, network.id, router=at, up=False)
    await change.commit()


async def other_hosts(cloud: SimCloud) -> list[str]:
    await a_machine(cloud)
    (network,) = await cloud.store.find(Network)
    return sorted(host.id for host in await cloud.store.find(Host) if host.id != network.router)


def test_a_router_that_was_to_move_to_a_host_which_takes_nothing_any_more_stands_elsewhere(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        closed, _ = await other_hosts(cloud)
        await cloud.call("updateHost", id=closed, allocationstate="Disable")
        network = await half_made(cloud, closed)
        assert await agrees(cloud)
        after = await cloud.store.get(Network, network.id)
        assert after.up
        assert after.router not in (None, closed)
        assert network.id not in sim.outside(closed).routers
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_router_that_can_be_built_nowhere_is_told_of_and_tried_ever_more_seldom(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        target, _ = await other_hosts(cloud)
        network = await half_made(cloud, target)
        for host in await cloud.store.find(Host):
            sim.outside(host.id).failing.add("ensure_router")
        async with asyncio.timeout(600):
            while not [a for a in await cloud.store.find(Alert) if network.name in a.text]:
                await asyncio.sleep(1)
        (alert,) = [a for a in await cloud.store.find(Alert) if network.name in a.text]
        assert alert.name == "ALERT.SERVICE.DOMAINROUTER"
        assert "ensure_router is refused here" in alert.text
        await asyncio.sleep(600)
        built = [j for j in await cloud.store.find(Job, object_id=network.id) if j.ended]
        assert 5 < len(built) < 15, "once a minute at most, and it goes on"
        for host in await cloud.store.find(Host):
            sim.outside(host.id).failing.clear()
        assert await agrees(cloud)
        assert (await cloud.store.get(Network, network.id)).up

    world(story)


def test_a_router_that_is_half_made_and_that_no_machine_needs_is_soon_gone(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        target, _ = await other_hosts(cloud)
        (machine,) = await cloud.store.find(Vm)
        await cloud.settle("stopVirtualMachine", id=machine.id)
        (network,) = await cloud.store.find(Network)
        await left_half_made(cloud, network, target)
        async with asyncio.timeout(300):  # an idle one that serves stays for 600 s
            while (await cloud.store.get(Network, network.id)).router is not None:
                await asyncio.sleep(1)
        assert await agrees(cloud)

    world(story)


def test_a_router_on_its_way_is_given_time_however_long_its_network_was_idle(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        target, _ = await other_hosts(cloud)
        (machine,) = await cloud.store.find(Vm)
        await cloud.settle("stopVirtualMachine", id=machine.id)
        (network,) = await cloud.store.find(Network)
        await asyncio.sleep(300)  # of virtual time
        assert (await cloud.store.get(Network, network.id)).up
        await left_half_made(cloud, network, target)
        await asyncio.sleep(HALF_MADE_S - 1)
        assert (await cloud.store.get(Network, network.id)).router == target
        orders = [job.verb for job in await cloud.store.find(Job, object_id=network.id)]
        assert "shutdown_network" not in orders

    world(story)
