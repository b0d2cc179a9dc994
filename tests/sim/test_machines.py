"""A machine's life, from order to expunged, on simulated hosts."""

from __future__ import annotations

import asyncio

from csnode.model.vm import Vm, Want
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap
from tests.sim.conftest import World
from tests.sim.world import a_machine, first, leftovers, machines, prepared


def test_a_deployed_machine_runs(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        job = await cloud.settle("deployVirtualMachine", **await prepared(cloud))
        assert job["jobstatus"] == 1, job
        shown = job["jobresult"]["virtualmachine"]
        assert shown["state"] == "Running"
        assert shown["nic"][0]["ipaddress"].startswith("10.1.1.")
        assert await machines(cloud) == {shown["id"]: "on"}

    world(story)


def test_a_host_is_told_of_the_offerings_cpu_limit(world: World) -> None:
    from roles.compute.drivers import sim

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        made = await cloud.call(
            "createServiceOffering", name="capped", displaytext="capped", cpunumber="1",
            cpuspeed="500", memory="256", limitcpuuse="true",
        )  # fmt: skip
        for offering, limited in ((params["serviceofferingid"], False),
                                  (made["serviceoffering"]["id"], True)):  # fmt: skip
            job = await cloud.settle(
                "deployVirtualMachine", **{**params, "serviceofferingid": offering}
            )
            vm = await cloud.store.get(Vm, job["jobresult"]["virtualmachine"]["id"])
            machine = sim.outside(str(vm.host)).machines[vm.id]  # type: ignore[index]
            assert machine.domain.limit_cpu is limited

    world(story)


def test_a_machine_goes_through_its_whole_life(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        for command, state in (
            ("stopVirtualMachine", "Stopped"),
            ("startVirtualMachine", "Running"),
            ("rebootVirtualMachine", "Running"),
            ("destroyVirtualMachine", "Destroyed"),
        ):
            job = await cloud.settle(command, id=id)
            assert job["jobstatus"] == 1, (command, job)
            assert (await first(cloud, "listVirtualMachines", id=id))["state"] == state
        await cloud.call("recoverVirtualMachine", id=id)
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Stopped"
        await cloud.settle("destroyVirtualMachine", id=id)
        assert (await cloud.settle("expungeVirtualMachine", id=id))["jobstatus"] == 1
        assert await cloud.call("listVirtualMachines") == {}
        assert await leftovers(cloud) == []

    world(story)


def test_an_expunged_machine_gives_back_all_it_took(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        job = await cloud.settle("destroyVirtualMachine", id=id, expunge="true")
        assert job["jobstatus"] == 1, job
        assert await leftovers(cloud) == []
        again = await a_machine(cloud)
        shown = await first(cloud, "listVirtualMachines", id=again)
        assert shown["state"] == "Running"

    world(story)


def test_jobs_for_one_machine_run_one_after_the_other(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        stop = await cloud.call("stopVirtualMachine", id=id)
        start = await cloud.call("startVirtualMachine", id=id)
        assert (await cloud.wait(stop["jobid"]))["jobstatus"] == 1
        assert (await cloud.wait(start["jobid"]))["jobstatus"] == 1
        assert await machines(cloud) == {id: "on"}

    world(story)


def test_a_machine_that_halts_by_itself_is_seen_as_stopped(world: World) -> None:
    from roles.compute.drivers import sim

    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        vm = await cloud.store.get(Vm, id)
        sim.outside(str(vm.host)).halt(vm.id)  # type: ignore[arg-type]
        await asyncio.sleep(60)
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Stopped"
        settled = await cloud.store.get(Vm, id)
        assert settled.host is None  # its host's capacity is free again

    world(story)


def test_a_machine_too_large_for_every_host_is_refused_with_reasons(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        huge = await cloud.call(
            "createServiceOffering", name="huge", displaytext="huge",
            cpunumber="255", cpuspeed="1000", memory="1024",
        )  # fmt: skip
        params["serviceofferingid"] = huge["serviceoffering"]["id"]
        job = await cloud.settle("deployVirtualMachine", **params)
        assert job["jobstatus"] == 2
        why = job["jobresult"]["errortext"]
        assert "No host can run this machine" in why
        for host in (await cloud.call("listHosts"))["host"]:
            assert f"{host['name']}: needs 255 CPUs" in why
        assert await machines(cloud) == {}
        params["serviceofferingid"] = (await prepared(cloud))["serviceofferingid"]
        again = await cloud.settle("deployVirtualMachine", **params)
        assert again["jobstatus"] == 1, again

    world(story)


def test_all_works_although_every_event_is_lost(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        cloud.node.bus.publish = lambda event: None  # type: ignore[method-assign]
        assert cloud.role("orchestrator").peers.alive()
        job = await cloud.settle("deployVirtualMachine", **params)
        assert job["jobstatus"] == 1, job
        id = job["jobresult"]["virtualmachine"]["id"]
        assert (await cloud.settle("destroyVirtualMachine", id=id, expunge="true"))[
            "jobstatus"
        ] == 1
        assert await leftovers(cloud) == []

    world(story)


def test_many_machines_at_once_get_addresses_of_their_own(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        jobs = [await cloud.call("deployVirtualMachine", **params) for _ in range(30)]
        shown = [(await cloud.wait(j["jobid"]))["jobresult"]["virtualmachine"] for j in jobs]
        assert len({vm["nic"][0]["ipaddress"] for vm in shown}) == 30
        assert {vm["state"] for vm in shown} == {"Running"}
        assert len({vm["hostid"] for vm in shown}) == 3  # spread over all hosts

    world(story)


def test_of_many_deploys_with_one_name_or_one_mac_just_one_gets_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        await a_machine(cloud)  # makes the network
        network = (await first(cloud, "listNetworks"))["id"]
        for same in ({"name": "dupe"}, {"macaddress": "02:00:00:00:00:77"}):
            asked = [
                cloud.ask("deployVirtualMachine", **params, networkids=network, **same)
                for _ in range(8)
            ]
            answers = await asyncio.gather(*asked)
            assert sorted(status for status, _ in answers) == [200] + [431] * 7, answers
            for status, answer in answers:
                if status == 200:
                    await cloud.wait(answer["jobid"])

    world(story)


def test_a_machine_runs_on_if_the_order_behind_its_owners_last_word_was_cancelled(
    world: World,
) -> None:
    slow = {"options": {"latency_s": 2.0}}

    async def story(cloud: SimCloud) -> None:
        deploy = await cloud.call("deployVirtualMachine", **await prepared(cloud))
        destroy = await cloud.call("destroyVirtualMachine", id=deploy["id"])
        await cloud.call("cancelAsyncJob", jobid=destroy["jobid"])
        assert (await cloud.wait(destroy["jobid"]))["jobstatus"] == 2
        assert (await cloud.wait(deploy["jobid"]))["jobstatus"] == 1
        await asyncio.sleep(60)
        shown = await first(cloud, "listVirtualMachines", id=deploy["id"])
        assert shown["state"] == "Running"

    world(story, compute=slow)


def test_a_failed_deploy_leaves_the_word_to_the_start_that_waits_behind_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        Injector(Mishap.REFUSED, "power").into(cloud.role("orchestrator").engine)
        deploy = await cloud.call("deployVirtualMachine", **params)
        start = await cloud.call("startVirtualMachine", id=deploy["id"])
        assert (await cloud.wait(deploy["jobid"]))["jobstatus"] == 2
        assert (await cloud.wait(start["jobid"]))["jobstatus"] == 1
        assert (await cloud.store.get(Vm, deploy["id"])).want is Want.RUNNING

    world(story, compute={"options": {"latency_s": 2.0}}, orchestrator={"places_max": 1})
