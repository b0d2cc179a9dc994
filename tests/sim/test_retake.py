"""A start of a machine that gave back what it took takes it again, or is refused."""

from __future__ import annotations

import pytest

from csnode.model.orders import StartVm
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap
from csnode.types import VmId
from roles.orchestrator.sagas.start_vm import Start
from tests.sim.at_once import at_once
from tests.sim.conftest import World
from tests.sim.failed import (
    LIMITS,
    ONE,
    WEB,
    a_failed_machine,
    card,
    fails_to_start,
    hosts_refuse,
    limit,
    rows,
    starts,
    used,
    whole,
)
from tests.sim.stage import Stage
from tests.sim.world import a_machine, leases, prepared


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"), places=3)


def test_a_start_beyond_the_limit_is_refused_and_changes_nothing(stage: Stage) -> None:
    async def story(cloud: SimCloud) -> None:
        await limit(cloud, 1)
        failed = await a_failed_machine(cloud)
        await a_machine(cloud)
        before = await rows(cloud)
        status, answer = await cloud.ask("startVirtualMachine", id=failed)
        assert status == 535, answer
        assert "Maximum amount of resources of Type = 'user_vm'" in answer["errortext"]
        assert await rows(cloud) == before
        await limit(cloud, 2)
        assert (await cloud.settle("startVirtualMachine", id=failed))["jobstatus"] == 1
        assert (await used(cloud))["user_vm"] == 2
        assert await whole(cloud)

    stage.play(story)


def test_a_start_takes_the_same_address_again_or_the_next_if_that_is_anothers(
    stage: Stage,
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        lost = (await card(cloud, failed)).last_address
        await fails_to_start(cloud, failed)
        assert (await card(cloud, failed)).last_address == lost
        other = await a_machine(cloud)
        assert (await card(cloud, other)).address == lost
        await starts(cloud, failed)
        assert (await card(cloud, failed)).address not in ("", lost)
        assert await whole(cloud)

    stage.play(story)


def test_a_start_that_failed_after_the_router_knew_the_card_lets_others_have_its_address(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        Injector(Mishap.REFUSED, "plugs", Start).into(cloud.role("orchestrator").engine)
        assert (await cloud.settle("startVirtualMachine", id=failed))["jobstatus"] == 2
        assert await leases(cloud) == []
        other = await a_machine(cloud)
        assert (await card(cloud, other)).address == (await card(cloud, failed)).last_address
        assert await whole(cloud)

    world(story, orchestrator={"places_max": 1})


def test_a_name_that_another_machine_has_by_now_is_refused_until_one_is_renamed(
    stage: Stage,
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud, name="web")
        job = await cloud.settle("deployVirtualMachine", **await prepared(cloud), name="web")
        assert job["jobstatus"] == 1, job
        before = await rows(cloud)
        status, answer = await cloud.ask("startVirtualMachine", id=failed)
        assert status == 431, answer
        assert "another name (updateVirtualMachine)" in answer["errortext"]
        assert await rows(cloud) == before
        await cloud.call("updateVirtualMachine", id=failed, name="web-2")
        assert (await card(cloud, failed)).named is None
        await starts(cloud, failed)
        assert (await card(cloud, failed)).named
        assert await whole(cloud)

    stage.play(story)


@pytest.mark.parametrize(("wish", "says"), [("ipaddress", "10.1.1.77"), ("macaddress", "02:11:")])
def test_an_address_that_was_asked_for_and_is_anothers_by_now_is_refused(
    stage: Stage, wish: str, says: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud, **{wish: WEB[wish]})
        other = await cloud.settle(
            "deployVirtualMachine", **await prepared(cloud), **{wish: WEB[wish]}
        )
        assert other["jobstatus"] == 1, other
        before = await rows(cloud)
        status, answer = await cloud.ask("startVirtualMachine", id=failed)
        assert status == 431, answer
        assert says in answer["errortext"]
        assert await rows(cloud) == before
        await cloud.settle(
            "destroyVirtualMachine", id=other["jobresult"]["virtualmachine"]["id"], expunge="true"
        )
        await starts(cloud, failed)
        found = await card(cloud, failed)
        assert WEB[wish] in (found.address, found.mac)
        assert await whole(cloud)

    stage.play(story)


@pytest.mark.parametrize("first_asked", ["start", "deploy"])
def test_of_a_start_and_a_deploy_for_the_last_place_one_gets_it(
    stage: Stage, first_asked: str
) -> None:
    async def story(cloud: SimCloud) -> None:
        await limit(cloud, 1)
        failed = await a_failed_machine(cloud)
        asked = [
            cloud.ask("startVirtualMachine", id=failed),
            cloud.ask("deployVirtualMachine", **await prepared(cloud)),
        ]
        answers = await at_once(cloud, *(asked if first_asked == "start" else asked[::-1]))
        answers.sort(key=lambda answer: answer[0])
        assert [status for status, _ in answers] == [200, 535], answers
        assert (await cloud.wait(answers[0][1]["jobid"]))["jobstatus"] == 1
        assert (await used(cloud))["user_vm"] == 1
        assert await whole(cloud)

    stage.play(story)


def test_two_starts_at_once_take_what_the_machine_needs_once(stage: Stage) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        asked = [cloud.ask("startVirtualMachine", id=failed) for _ in range(2)]
        for status, answer in await at_once(cloud, *asked):
            assert status == 200, answer
            assert (await cloud.wait(answer["jobid"]))["jobstatus"] == 1
        assert (await used(cloud))["user_vm"] == 1
        assert await whole(cloud)

    stage.play(story)


def test_a_start_that_is_cancelled_in_line_takes_nothing_from_the_one_at_work(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        one = await cloud.call("startVirtualMachine", id=failed)
        two = await cloud.call("startVirtualMachine", id=failed)
        await cloud.call("cancelAsyncJob", jobid=two["jobid"])
        assert (await cloud.wait(two["jobid"]))["jobstatus"] == 2
        assert not (await cloud.store.get(Vm, failed)).given_back
        assert (await cloud.wait(one["jobid"]))["jobstatus"] == 1
        assert await whole(cloud)

    world(story, compute={"options": {"latency_s": 5.0}})


def test_a_machine_that_is_recovered_holds_nothing_until_it_starts(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await hosts_refuse(cloud)
        deploy = await cloud.call("deployVirtualMachine", **params)
        destroy = await cloud.call("destroyVirtualMachine", id=deploy["id"])
        assert (await cloud.wait(deploy["jobid"]))["jobstatus"] == 2
        assert (await cloud.wait(destroy["jobid"]))["jobstatus"] == 1
        assert await used(cloud) == dict.fromkeys(LIMITS, 0)
        await cloud.call("recoverVirtualMachine", id=deploy["id"])
        assert await used(cloud) == dict.fromkeys(LIMITS, 0)
        await hosts_refuse(cloud, False)
        await starts(cloud, deploy["id"])
        assert (await used(cloud))["user_vm"] == 1
        assert await whole(cloud)

    world(story, compute={"options": {"latency_s": 2.0}})


@pytest.mark.parametrize("refuse", [True, False])
def test_a_machine_that_is_destroyed_while_it_starts_is_given_back_once(
    world: World, refuse: bool
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        await a_machine(cloud)
        await hosts_refuse(cloud, refuse)
        start = await cloud.call("startVirtualMachine", id=failed)
        destroy = await cloud.call("destroyVirtualMachine", id=failed, expunge="true")
        assert (await cloud.wait(start["jobid"]))["jobstatus"] == (2 if refuse else 1)
        assert (await cloud.wait(destroy["jobid"]))["jobstatus"] == 1
        assert await cloud.store.find(Vm, id=failed) == []
        assert await used(cloud) == ONE
        assert await whole(cloud)

    world(story, compute={"options": {"latency_s": 2.0}})


def test_of_a_start_and_a_destroy_at_once_none_leaves_half_a_machine(stage: Stage) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        await a_machine(cloud)
        asked = [
            cloud.ask("startVirtualMachine", id=failed),
            cloud.ask("destroyVirtualMachine", id=failed, expunge="true"),
        ]
        answers = await at_once(cloud, *asked)
        assert answers[1][0] == 200, answers
        for status, answer in answers:
            if status == 200:
                await cloud.wait(answer["jobid"])
        assert await cloud.store.find(Vm, id=failed) == []
        assert await used(cloud) == ONE
        assert await whole(cloud)

    stage.play(story)


def test_a_start_that_an_older_api_ordered_places_no_machine_that_holds_nothing(
    stage: Stage,
) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = await a_failed_machine(cloud)
        change = cloud.store.change()
        job = change.order(StartVm(vm=VmId(failed)))
        await change.commit()
        ended = await cloud.wait(job.id)
        assert ended["jobstatus"] == 2, ended
        assert "Start it again" in ended["jobresult"]["errortext"]
        assert (await cloud.store.get(Vm, failed)).given_back
        assert await whole(cloud)

    stage.play(story)


def test_two_machines_that_had_one_address_start_at_once_with_two(stage: Stage) -> None:
    async def story(cloud: SimCloud) -> None:
        failed = [await a_failed_machine(cloud) for _ in range(2)]
        assert len({(await card(cloud, id)).last_address for id in failed}) == 1
        asked = [cloud.ask("startVirtualMachine", id=id) for id in failed]
        for status, answer in await at_once(cloud, *asked):
            assert status == 200, answer
            assert (await cloud.wait(answer["jobid"]))["jobstatus"] == 1
        assert len({(await card(cloud, id)).address for id in failed}) == 2
        assert await whole(cloud)

    stage.play(story)
