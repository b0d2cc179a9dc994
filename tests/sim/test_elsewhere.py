"""What fails at one host or pool is tried at the next; pools promise no more than they have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from csnode.model.host import Host, StoragePool
from csnode.model.job import Job, JobState
from csnode.model.room import BYTES
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.saga import sagas
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap
from csnode.uuids import new_id
from roles.compute.drivers import sim as hypervisors
from roles.network.drivers import sim as networks
from roles.storage.drivers import sim as pools
from tests.sim.conftest import World
from tests.sim.stage import Stage
from tests.sim.stories import STORIES
from tests.sim.world import a_machine, agrees, first, gone, prepared, tear_down, volumes

GIB = 1 << 30
SAGAS = sagas()


async def offering(cloud: SimCloud, **more: str) -> str:
    made = await cloud.call(
        "createServiceOffering", name="o", displaytext="o", cpunumber="1", cpuspeed="500",
        memory="128", **more,
    )  # fmt: skip
    return str(made["serviceoffering"]["id"])


async def promised(cloud: SimCloud) -> dict[str, int]:
    """What each pool's tally says; those that have promised nothing are left out."""
    ids = {pool.id for pool in await cloud.store.find(StoragePool)}
    tallies = {t.id: t.used.get(BYTES, 0) for t in await cloud.store.find(Tally) if t.id in ids}
    return {id: bytes for id, bytes in tallies.items() if bytes}


async def pools_by_name(cloud: SimCloud) -> list[StoragePool]:
    return sorted(await cloud.store.find(StoragePool), key=lambda pool: pool.name)


def heal(ids: Iterable[str]) -> None:
    for id in ids:
        hypervisors.outside(id).failing.clear()
        networks.outside(id).failing.clear()


# -- tags and room -------------------------------------------------------------------------


def test_a_machine_goes_where_a_pool_has_its_offerings_storage_tag(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        params["serviceofferingid"] = await offering(cloud, tags="ssd")
        refused = await cloud.settle("deployVirtualMachine", **params)
        assert refused["jobstatus"] == 2
        assert "lacks the tag ssd" in refused["jobresult"]["errortext"]
        for pool in await pools_by_name(cloud):
            await cloud.call("updateStoragePool", id=pool.id, tags="ssd")
            made = await cloud.settle("deployVirtualMachine", **params)
            assert made["jobstatus"] == 1, made
            id = made["jobresult"]["virtualmachine"]["id"]
            (volume,) = await cloud.store.find(Volume, vm=id)
            assert volume.pool == pool.id
            assert (await cloud.store.get(Vm, id)).host == pool.host
            await cloud.call("updateStoragePool", id=pool.id, tags="")
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_pools_promise_what_they_have_and_no_more_however_many_come_at_once(world: World) -> None:
    """Three pools of 3 GiB, promised twice: three disks of 2 GiB each, and not one more."""

    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        params["serviceofferingid"] = await offering(cloud)
        jobs = [await cloud.call("deployVirtualMachine", **params) for _ in range(12)]
        ended = [await cloud.wait(job["jobid"]) for job in jobs]
        assert sum(job["jobstatus"] == 1 for job in ended) == 9
        texts = [job["jobresult"]["errortext"] for job in ended if job["jobstatus"] == 2]
        assert all("No host can" in text or "No storage pool can" in text for text in texts)
        assert any("0.0 GiB of 6.0 GiB are free" in text for text in texts), texts
        assert sorted((await promised(cloud)).values()) == [6 * GIB] * 3
        await tear_down(cloud)
        assert await promised(cloud) == {}
        assert await gone(cloud) == []

    world(story, storage={"options": {"total_gib": 3}})


def test_a_pool_is_overprovisioned_as_its_row_says(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        pool, *others = await pools_by_name(cloud)
        for other in others:
            await cloud.call("updateStoragePool", id=other.id, enabled="false")
        assert (await first(cloud, "listStoragePools", id=pool.id))["overprovisionfactor"] == "2.0"
        told = {"details[0].storage.overprovisioning.factor": "0.5"}
        await cloud.call("updateStoragePool", id=pool.id, **told)
        refused = await cloud.settle("deployVirtualMachine", **params)
        assert "needs 2.0 GiB, 1.5 GiB of 1.5 GiB are free" in refused["jobresult"]["errortext"]
        told = {"details[0].storage.overprovisioning.factor": "1"}
        await cloud.call("updateStoragePool", id=pool.id, **told)
        assert (await cloud.settle("deployVirtualMachine", **params))["jobstatus"] == 1
        status, answer = await cloud.ask("updateStoragePool", id=pool.id, **{
            "details[0].storage.overprovisioning.factor": "none"
        })  # fmt: skip
        assert status == 431
        assert "storage.overprovisioning.factor must be a number" in answer["errortext"]

    world(story, storage={"options": {"total_gib": 3}})


def test_what_a_csnode_of_before_did_not_count_is_counted_by_the_sweep(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        await a_machine(cloud)
        right = await promised(cloud)
        assert sum(right.values()) == 2 * GIB
        for pool in await cloud.store.find(StoragePool):
            change = cloud.store.change()
            change.delete(Tally, pool.id)
            await change.commit()
        async with asyncio.timeout(120):
            while await promised(cloud) != right:
                await asyncio.sleep(1)

    world(story)


def test_a_plugins_job_whose_step_is_called_spots_too_does_not_stop_the_count(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        await a_machine(cloud)
        right = await promised(cloud)
        change = cloud.store.change()
        change.create(Job(id=new_id(), verb="of_a_plugin", order={}, results={"spots": [1, 2]}))
        for pool in await cloud.store.find(StoragePool):
            change.delete(Tally, pool.id)
        await change.commit()
        async with asyncio.timeout(120):
            while await promised(cloud) != right:
                await asyncio.sleep(1)

    world(story)


@pytest.mark.parametrize(("name", "mishap"), [("destroy-expunge", Mishap.TWICE),
                                              ("deploy", Mishap.UNDO_TWICE)])  # fmt: skip
def test_bytes_of_a_disk_that_is_dropped_twice_are_given_back_once(
    world: World, name: str, mishap: Mishap
) -> None:
    """Another disk in the same pool shows it; and no sweep has counted anew by then."""

    async def story(cloud: SimCloud) -> None:
        told = STORIES[name]
        await a_machine(cloud)
        on = await told.ready(cloud)
        injector = Injector(mishap, "disks", SAGAS[told.verb])
        injector.into(cloud.role("orchestrator").engine)
        await cloud.wait(await told.order(cloud, on))
        assert injector.done
        assert sum((await promised(cloud)).values()) == 2 * GIB

    world(story, hosts=1, orchestrator={"places_max": 1})


# -- the next host, the next pool ----------------------------------------------------------


@pytest.mark.parametrize("verb", ["ensure_running", "ensure_plug", "ensure_router"])
def test_a_machine_that_fails_on_one_host_runs_on_the_next(world: World, verb: str) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        hosts = sorted(await cloud.store.find(Host), key=lambda host: host.name)
        outside = hypervisors if verb == "ensure_running" else networks
        for host in hosts[:2]:
            outside.outside(host.id).failing.add(verb)  # type: ignore[arg-type]
        ended = await cloud.settle("deployVirtualMachine", **params)
        assert ended["jobstatus"] == 1, ended
        assert ended["jobresult"]["virtualmachine"]["hostid"] == hosts[2].id
        job = await cloud.store.get(Job, ended["jobid"])
        assert {t.id for t in job.tried} <= {host.id for host in hosts[:2]}
        assert all("refuse" in t.why for t in job.tried)
        assert len(await volumes(cloud)) == 1
        heal(host.id for host in hosts)
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_machine_whose_disk_fails_in_one_pool_has_it_in_the_next(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        *bad, good = await pools_by_name(cloud)
        for pool in bad:
            pools.outside(pool.id).failing.add("ensure_volume")
        made = await cloud.settle("deployVirtualMachine", **params)
        assert made["jobstatus"] == 1, made
        (volume,) = await cloud.store.find(Volume)
        assert volume.pool == good.id
        assert await promised(cloud) == {good.id: 2 * GIB}
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_machine_that_fails_everywhere_says_what_each_host_said(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        hosts = await cloud.store.find(Host)
        for host in hosts:
            hypervisors.outside(host.id).failing.add("ensure_running")
        ended = await cloud.settle("deployVirtualMachine", **params)
        assert ended["jobstatus"] == 2
        text = ended["jobresult"]["errortext"]
        assert all(f"simulated host {host.name} refuses ensure_running" in text for host in hosts)
        id = (await cloud.store.find(Vm))[0].id
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Error"
        heal(host.id for host in hosts)
        started = await cloud.settle("startVirtualMachine", id=id)
        assert started["jobstatus"] == 1, started
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Running"
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_machine_in_error_whose_start_fails_again_says_why_it_did_now(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        hosts, rows = await cloud.store.find(Host), await pools_by_name(cloud)
        for host in hosts:
            hypervisors.outside(host.id).failing.add("ensure_running")
        await cloud.settle("deployVirtualMachine", **params)
        id = (await cloud.store.find(Vm))[0].id
        for pool in rows:
            pools.outside(pool.id).failing.add("ensure_volume")
        assert (await cloud.settle("startVirtualMachine", id=id))["jobstatus"] == 2
        assert "ensure_volume" in (await cloud.store.get(Vm, id)).trouble
        assert (await first(cloud, "listVirtualMachines", id=id))["state"] == "Error"
        assert await volumes(cloud) == []
        assert await promised(cloud) == {}
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story)


def test_a_start_on_one_host_only_is_tried_nowhere_else(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        host = (await cloud.store.find(Host))[0]
        hypervisors.outside(host.id).failing.add("ensure_running")
        ended = await cloud.settle("deployVirtualMachine", hostid=host.id, **params)
        assert ended["jobstatus"] == 2
        assert (await cloud.store.get(Job, ended["jobid"])).tried == ()

    world(story)


def test_a_job_that_is_cancelled_on_its_way_to_the_next_host_ends_cancelled(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        for host in await cloud.store.find(Host):
            hypervisors.outside(host.id).failing.add("ensure_running")
        job = str((await cloud.call("deployVirtualMachine", **params))["jobid"])
        async with asyncio.timeout(60):
            while (await cloud.store.get(Job, job)).state is not JobState.UNWINDING:
                await asyncio.sleep(0.05)
        await cloud.call("cancelAsyncJob", jobid=job)
        assert (await cloud.wait(job))["jobstatus"] == 2
        row = await cloud.store.get(Job, job)
        assert (row.fault, len(row.tried)) == ("cancelled by admin", 1)
        assert await agrees(cloud)

    world(story, compute={"options": {"latency_s": 1.0}}, storage={"options": {"latency_s": 1.0}})


def test_machines_go_to_no_host_whose_hypervisor_does_not_answer_while_others_do(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        silent, *others = await cloud.store.find(Host)
        hypervisors.outside(silent.id).hangs = True
        for _ in range(6):
            made = await cloud.settle("deployVirtualMachine", **params)
            assert made["jobresult"]["virtualmachine"]["hostid"] in {host.id for host in others}
        hypervisors.outside(silent.id).hangs = False
        assert await agrees(cloud)

    world(story)


def test_a_machine_waits_for_the_only_host_that_may_have_it(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        (host,) = await cloud.store.find(Host)
        hypervisors.outside(host.id).hangs = True
        job = str((await cloud.call("deployVirtualMachine", **params))["jobid"])
        await asyncio.sleep(4)
        hypervisors.outside(host.id).hangs = False
        assert (await cloud.wait(job))["jobstatus"] == 1
        assert await agrees(cloud)

    world(story, hosts=1)


# -- the matrix, with another place to go --------------------------------------------------

UNDONE = (Mishap.REFUSED, Mishap.ANSWER_LOST, Mishap.UNDO_TWICE, Mishap.CRASH_IN_UNDO)
CELLS = [
    (step, mishap)
    for step in ("disks", "plugs", "power")
    for mishap in UNDONE
    if mishap in UNDONE[:2] or step != "plugs"  # which have no undo
    if (step, mishap) != ("disks", Mishap.REFUSED)  # before any pool was asked
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"), places=3)


@pytest.mark.parametrize(("step", "mishap"), CELLS)
def test_a_start_that_was_undone_at_one_place_is_whole_at_another(
    stage: Stage, step: str, mishap: Mishap
) -> None:
    told = STORIES["deploy"]

    async def story(cloud: SimCloud) -> None:
        on = await told.ready(cloud)
        injector = Injector(mishap, step, SAGAS[told.verb])
        injector.into(cloud.role("orchestrator").engine)
        ended = await cloud.wait(await told.order(cloud, on))
        assert injector.done
        assert ended["jobstatus"] == 1, ended
        assert len((await cloud.store.get(Job, ended["jobid"])).tried) == 1
        assert len(await promised(cloud)) == 1
        assert await agrees(cloud)
        await tear_down(cloud)
        assert await gone(cloud) == []

    stage.play(story)
