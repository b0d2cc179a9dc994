"""A machine whose first start failed for good gives back what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from csnode.cli import job as cli
from csnode.model.job import JobState
from csnode.model.network import Network
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import NetworkId, NicId
from roles.network.drivers import sim as routers
from tests.sim.conftest import World
from tests.sim.failed import (
    LIMITS,
    ONE,
    WEB,
    a_failed_machine,
    a_machine_without_room,
    card,
    hosts_refuse,
    limit,
    older,
    starts,
    used,
    whole,
)
from tests.sim.stage import Stage
from tests.sim.stories import STORIES
from tests.sim.test_stuck import ended, stuck
from tests.sim.world import a_machine, first, leases, prepared


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"), places=3)


@pytest.mark.parametrize("fails", [a_failed_machine, a_machine_without_room])
def test_a_deploy_that_failed_gives_back_its_place_name_and_address(
    stage: Stage, fails: Callable[..., Awaitable[str]]
) -> None:
    async def story(cloud: SimCloud) -> None:
        await limit(cloud, 1)
        failed = await fails(cloud, **WEB)
        shown = await first(cloud, "listVirtualMachines", id=failed)
        assert shown["state"] == "Error"
        assert "ipaddress" not in shown["nic"][0]
        assert await used(cloud) == dict.fromkeys(LIMITS, 0)
        job = await cloud.settle("deployVirtualMachine", **await prepared(cloud), **WEB)
        assert job["jobstatus"] == 1, job
        assert job["jobresult"]["virtualmachine"]["nic"][0]["ipaddress"] == WEB["ipaddress"]
        assert await used(cloud) == ONE
        assert await whole(cloud)

    stage.play(story)


def test_a_machine_keeps_what_it_has_for_a_start_that_waits_behind_the_failed_one(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await hosts_refuse(cloud)
        deploy = await cloud.call("deployVirtualMachine", **params)
        starting = [await cloud.call("startVirtualMachine", id=deploy["id"]) for _ in range(2)]
        assert (await cloud.wait(deploy["jobid"]))["jobstatus"] == 2
        assert (await cloud.wait(starting[0]["jobid"]))["jobstatus"] == 2
        assert not (await cloud.store.get(Vm, deploy["id"])).given_back
        assert (await used(cloud))["user_vm"] == 1
        assert (await cloud.wait(starting[1]["jobid"]))["jobstatus"] == 2
        assert (await cloud.store.get(Vm, deploy["id"])).given_back
        assert (await used(cloud))["user_vm"] == 0
        assert await whole(cloud)

    world(story, compute={"options": {"latency_s": 2.0}})


@pytest.mark.parametrize("expunge", ["true", "false"])
def test_a_machine_that_gave_back_is_destroyed_without_giving_twice(
    stage: Stage, expunge: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        other = await a_machine(cloud)
        address = (await card(cloud, other)).address
        job = await cloud.settle("destroyVirtualMachine", id=failed, expunge=expunge)
        assert job["jobstatus"] == 1, job
        assert await used(cloud) == ONE
        assert await cloud.store.find(Vm, id=failed) == []
        assert (await card(cloud, other)).address == address
        assert await whole(cloud)

    stage.play(story)


def test_an_address_may_be_asked_for_beside_an_older_data_service(stage: Stage) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        cloud.node.bus.directory.announce(older("data"))
        job = await cloud.settle("deployVirtualMachine", **params, ipaddress="10.1.1.77")
        assert job["jobstatus"] == 1, job

    stage.play(story)


@pytest.mark.parametrize("role", ["api", "data", "orchestrator"])
def test_nothing_is_given_back_while_an_older_process_would_not_take_it_again(
    stage: Stage, role: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        await prepared(cloud)
        cloud.node.bus.directory.announce(older(role))
        failed = await a_failed_machine(cloud)
        assert not (await cloud.store.get(Vm, failed)).given_back
        assert (await used(cloud))["user_vm"] == 1
        await starts(cloud, failed)
        assert await whole(cloud)

    stage.play(story)


def test_a_machine_that_was_made_stopped_stays_stopped_however_often_its_start_fails(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await cloud.settle("deployVirtualMachine", **await prepared(cloud), startvm="false")
        id = job["jobresult"]["virtualmachine"]["id"]
        address = (await card(cloud, id)).address
        await hosts_refuse(cloud)
        starting = [await cloud.call("startVirtualMachine", id=id) for _ in range(2)]
        for start in starting:
            assert (await cloud.wait(start["jobid"]))["jobstatus"] == 2
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Stopped"
        assert (await card(cloud, id)).address == address
        assert await whole(cloud)

    world(story, compute={"options": {"latency_s": 2.0}})


def test_a_machine_that_a_host_may_still_have_gives_nothing_back(stage: Stage) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await stuck(cloud, STORIES["deploy"], "power")
        await cli.released(cloud.store, job.id)
        await ended(cloud, job.id, JobState.FAILED)
        vm = await cloud.store.get(Vm, job.object_id)
        assert vm.maybe_on
        assert not vm.given_back
        assert (await used(cloud))["user_vm"] == 1
        assert (await card(cloud, vm.id)).address

    stage.play(story)


def test_a_router_forgets_cards_that_have_given_their_addresses_back_however_many(
    stage: Stage,
) -> None:
    async def story(cloud: SimCloud) -> None:
        await a_machine(cloud)
        nics = [await card(cloud, await a_failed_machine(cloud)) for _ in range(4)]
        network = await cloud.store.get(Network, nics[0].network)
        known = routers.outside(str(network.router)).nics[NetworkId(network.id)]
        one = next(iter(known.values()))
        for number, nic in enumerate(nics):
            address = f"10.1.1.{100 + number}"
            known[NicId(nic.id)] = replace(
                one, nic=NicId(nic.id), vm=nic.vm, mac=nic.mac, address=address
            )
        async with asyncio.timeout(600):
            while {nic.id for nic in nics} & set(await leases(cloud)):
                await asyncio.sleep(5)
        assert await whole(cloud)

    stage.play(story)
