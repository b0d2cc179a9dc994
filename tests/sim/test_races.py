"""Two want one thing: one gets it, the other is told why not, and nothing is had twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.faults import Fault
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.network import Nic
from csnode.model.orders import DestroyVm, MigrateVm, RebootVm, StartVm, StopVm, VmOrder
from csnode.model.stock import Lock, Range, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import VmId
from csnode.verify.judge import verify
from roles.data import sqlite
from tests.sim.at_once import at_once
from tests.sim.conftest import World
from tests.sim.test_peers import another, knows, opened
from tests.sim.world import a_machine, agrees, first, gone, machines, prepared, tear_down

SLOW: dict[str, Any] = {"options": {"latency_s": 5.0}}


def test_of_two_orchestrators_exactly_one_runs_a_job(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        one, two = cloud.role("orchestrator"), another(cloud, "second")
        ran: list[str] = []

        def watched(role: Any) -> None:
            async def hook(moment: str, step: object) -> None:
                if moment == "before":
                    ran.append(f"{role.work.me} {step}")

            role.engine.hook = hook

        async with opened(two):
            for role in (one, two):
                await knows(role, one.work.me, two.work.me)
                watched(role)
                role.work.accepting = False
            for _ in range(5):
                accepted = await cloud.call("deployVirtualMachine", **params)
                job = await cloud.store.get(Job, accepted["jobid"])
                await asyncio.gather(*(r.work._carry(job, r.work._claim) for r in (one, two)))
                ended = await cloud.store.get(Job, job.id)
                assert not ended.open
                assert ended.fault == ""
                assert {who.split()[0] for who in ran} == {ended.owner}
                assert len(ran) == len(set(ran)) == 6
                ran.clear()
        assert await agrees(cloud)

    world(story)


def test_of_two_deploys_for_the_last_address_one_gets_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await a_machine(cloud)  # makes the network
        network = (await first(cloud, "listNetworks"))["id"]
        taken = max(nic.address for nic in await cloud.store.find(Nic))
        row = await cloud.store.get(Range, f"guest:{network}")
        change = cloud.store.change()
        last = row.low + int(taken.rsplit(".", 1)[1]) - row.low % 256 + 1
        change.update(Range, row.id, high=last)
        await change.commit()
        asked = [cloud.ask("deployVirtualMachine", **params, networkids=network) for _ in range(2)]
        answers = sorted(await asyncio.gather(*asked), key=lambda answer: answer[0])
        assert [status for status, _ in answers] == [200, 533], answers
        assert "are in use" in answers[1][1]["errortext"]
        assert (await cloud.wait(answers[0][1]["jobid"]))["jobstatus"] == 1
        assert len({nic.address for nic in await cloud.store.find(Nic)}) == 2
        assert len(await cloud.store.find(Vm)) == 2
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_of_two_deploys_for_the_last_capacity_one_gets_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        asked = [await cloud.call("deployVirtualMachine", **params) for _ in range(2)]
        ended = [await cloud.wait(answer["jobid"]) for answer in asked]
        assert sorted(job["jobstatus"] for job in ended) == [1, 2], ended
        why = next(j for j in ended if j["jobstatus"] == 2)["jobresult"]["errortext"]
        assert "No host can run this machine" in why
        assert len(await machines(cloud)) == 1
        tallies = {t.id: t.used for t in await cloud.store.find(Tally)}
        host = next(vm.host for vm in await cloud.store.find(Vm) if vm.host)
        assert (tallies[host]["cpu"], tallies[host]["mhz"]) == (1, 500)
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, hosts=1, compute={"options": {"cpus": 1, "cpu_mhz": 999}})


def test_of_two_deploys_for_the_last_unit_of_a_limit_one_gets_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await a_machine(cloud)
        account = (await cloud.store.find(Vm))[0].account
        change = cloud.store.change()
        row = await cloud.store.get(Account, account)
        change.update(Account, account, limits={**row.limits, "user_vm": 2})
        await change.commit()
        asked = [cloud.ask("deployVirtualMachine", **params) for _ in range(2)]
        answers = sorted(await asyncio.gather(*asked), key=lambda answer: answer[0])
        assert [status for status, _ in answers] == [200, 535], answers
        assert "limit" in answers[1][1]["errortext"].lower()
        assert (await cloud.wait(answers[0][1]["jobid"]))["jobstatus"] == 1
        assert (await cloud.store.get(Tally, f"account:{account}")).used["user_vm"] == 2

    world(story)


@pytest.mark.parametrize("after", [0.0, 2.0, 6.0, 12.0])
def test_a_machine_that_is_destroyed_while_it_starts_is_gone(world: World, after: float) -> None:
    async def story(cloud: SimCloud) -> None:
        accepted = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        await asyncio.sleep(after)
        job = await cloud.settle("destroyVirtualMachine", id=accepted["id"], expunge="true")
        assert job["jobstatus"] == 1, job
        assert (await cloud.wait(accepted["jobid"]))["jobstatus"] in (1, 2)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, compute=SLOW, storage=SLOW)


def test_a_start_that_fails_before_a_destroy_in_line_leaves_it_destroyed(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        await cloud.settle("stopVirtualMachine", id=id)
        for host in cloud.role("compute").hosts:
            cloud.node.bus.retire(host)
        start = await cloud.call("startVirtualMachine", id=id)
        destroy = await cloud.call("destroyVirtualMachine", id=id)
        await asyncio.sleep(30)
        for host in cloud.role("compute").hosts:
            cloud.node.bus.serve(host, at=(host.id,))
        assert (await cloud.wait(start["jobid"]))["jobstatus"] == 2
        assert (await cloud.wait(destroy["jobid"]))["jobstatus"] == 1
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Destroyed"
        assert await agrees(cloud)

    world(story)


@pytest.mark.parametrize("seed", range(4))
def test_destroy_and_start_at_once_end_with_it_destroyed_or_refused(
    world: World, seed: int
) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        await cloud.settle("stopVirtualMachine", id=id)
        commands = ["destroyVirtualMachine", "startVirtualMachine"]
        answers = await asyncio.gather(
            *(cloud.ask(c, id=id) for c in commands[:: 1 - 2 * (seed % 2)])
        )
        for status, answer in answers:
            if status == 200:
                await cloud.wait(answer["jobid"])
        shown = (await first(cloud, "listVirtualMachines", id=id))["state"]
        assert shown == "Destroyed"
        assert await agrees(cloud)
        assert await machines(cloud) == {}
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, seed=seed)


def test_a_second_data_process_on_one_file_is_refused(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        path = cloud.role("data").config.path
        with pytest.raises(Fault, match=r"in use|another|already"):
            async with sqlite.opened(path, True):
                pass
        await a_machine(cloud)  # the first is none the worse

    world(story)


RACES: dict[str, tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]] = {
    "network": (
        ("deleteNetwork", {"id": "network"}),
        ("deployVirtualMachine", {"networkids": "network"}),
    ),
    "template": (
        ("deleteTemplate", {"id": "template"}),
        ("deployVirtualMachine", {"templateid": "template"}),
    ),
    "pod": (("deletePod", {"id": "pod"}), ("addCluster", {"podid": "pod"})),
    "zone": (("deleteZone", {"id": "zone"}), ("createPod", {"zoneid": "zone"})),
}
"""What is taken away, and used, at once; values are names of ids that the test knows."""


@pytest.mark.parametrize("what", RACES)
@pytest.mark.parametrize("first_asked", [0, 1], ids=["away", "use"])
def test_of_taking_a_thing_away_and_using_it_at_once_one_is_refused(
    world: World, what: str, first_asked: int
) -> None:
    async def story(cloud: SimCloud) -> None:
        params, ids = await _things(cloud)
        given = {
            "deployVirtualMachine": params,
            "addCluster": {"zoneid": params["zoneid"], "clustername": "c", "hypervisor": "KVM",
                           "clustertype": "CloudManaged"},
            "createPod": {"name": "p"},
        }  # fmt: skip
        asked = [
            cloud.ask(command, **(given.get(command, {}) | {k: ids[v] for k, v in names.items()}))
            for command, names in RACES[what]
        ]
        if first_asked:
            asked.reverse()
        answers = await at_once(cloud, *asked)
        statuses = sorted(status for status, _ in answers)
        assert statuses == [200, 431], answers
        for status, answer in answers:
            if status == 200 and "jobid" in answer:
                assert (await cloud.wait(answer["jobid"]))["jobstatus"] == 1, answer
        assert (await verify(cloud.node.bus, cloud.store, None)).clean
        await tear_down(cloud)

    world(story)


async def _things(cloud: SimCloud) -> tuple[dict[str, str], dict[str, str]]:
    """What a deploy needs, and things that nothing uses yet."""
    params = await prepared(cloud)
    offering = (await first(cloud, "listNetworkOfferings"))["id"]
    home = params["zoneid"]
    network = await cloud.call("createNetwork", name="n", zoneid=home, networkofferingid=offering)
    template = await cloud.call(
        "registerTemplate", name="t", displaytext="t", format="QCOW2", hypervisor="KVM",
        url="http://images.example/t.qcow2", zoneid=home,
    )  # fmt: skip
    image = template["template"][0]["id"]
    while not (await cloud.store.get(Template, image)).ready:
        await asyncio.sleep(0.5)
    zone = await cloud.call(
        "createZone", name="z", networktype="Advanced", dns1="192.0.2.1", internaldns1="192.0.2.1"
    )
    pod = await cloud.call("createPod", name="p", zoneid=home)
    ids = {
        "network": network["network"]["id"], "template": image, "zone": zone["zone"]["id"],
        "pod": pod["pod"]["id"],
    }  # fmt: skip
    return params, ids


@pytest.mark.parametrize("order", [MigrateVm, StopVm, RebootVm, StartVm, DestroyVm])
def test_a_job_whose_machine_is_expunged_before_its_turn_is_not_stuck(
    world: World, order: type[VmOrder]
) -> None:
    """Another api accepted it a moment before: it stands behind the expunge in the queue, and when
    its turn comes there is nothing to do, and nothing to undo."""

    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        expunging = (await cloud.call("destroyVirtualMachine", id=id, expunge="true"))["jobid"]
        change = cloud.store.change()
        late = change.order(order(vm=VmId(id)))
        await change.commit()
        assert (await cloud.wait(expunging))["jobstatus"] == 1
        while (ended := await cloud.store.get(Job, late.id)).open:
            await asyncio.sleep(0.5)
        assert ended.state in ("done", "failed"), ended
        assert await cloud.store.find(Lock) == []
        assert (await verify(cloud.node.bus, cloud.store, None)).clean

    world(story)
