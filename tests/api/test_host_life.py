"""Hosts and pools are changed, maintained and removed: what is recorded, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.config import NodeConfig
from csnode.contracts.data import Commit
from csnode.directory.directory import Member, Served, Serving
from csnode.model.host import Host, Retired, Seen, StoragePool
from csnode.model.job import Cancel, Job
from csnode.model.room import BYTES
from csnode.model.stock import Tally
from csnode.types import NodeId
from csnode.uuids import id_of
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk

NET = seeds.uuid(500)
CLOUD = "c"


def heard(desk: Desk, name: str, *, shared: str = "") -> str:
    """A machine that has joined the cluster and plays a host; the host's id."""
    id = id_of(CLOUD, "host", name)
    pools = (NodeConfig(cluster=CLOUD).shared_pool(shared),) if shared else ()
    directory: Any = desk.api.bus.directory
    directory.announce(
        Member(
            node=NodeId(f"{name}/compute"), cluster=CLOUD, incarnation=1, number=1, host=name,
            roles=("compute", "storage"), calls="tcp://198.18.0.9:4000", events="",
            serves=(Serving(contract="Compute", at=(id,)), Serving(contract="Storage", at=pools)),
        )
    )  # fmt: skip
    return id


async def test_a_machine_that_joined_becomes_a_host(desk: Desk) -> None:
    id = heard(desk, "box")
    wanted = {
        "zoneid": seeds.ZONE, "podid": seeds.POD, "clusterid": seeds.CLUSTER,
        "hypervisor": "KVM", "hosttags": "ssd,fast", "username": "root", "password": "hunter2",
    }  # fmt: skip
    refusal = await desk.refused("addHost", ADMIN, **wanted, url="http://nobody")
    assert "csnode token create" in refusal["errortext"]
    for url in ("http://box", "http://198.18.0.9"):
        change = desk.store.change()
        change.delete(Host, id)
        await change.commit()
        (host,) = (await desk.ask("addHost", ADMIN, **wanted, url=url))["host"]
        assert (host["id"], host["name"], host["ipaddress"], host["hosttags"]) == (
            id, "box", "198.18.0.9", "ssd,fast")  # fmt: skip
    assert (await desk.refused("addHost", ADMIN, **wanted, url="http://box"))["errorcode"] == 431
    assert "hunter2" not in str(await desk.store.get(Host, id))


async def test_a_host_is_disabled_and_tagged(desk: Desk) -> None:
    news = {"allocationstate": "Disable", "hosttags": "gpu"}
    host = (await desk.ask("updateHost", ADMIN, id=seeds.HOST, **news))["host"]
    assert (host["resourcestate"], host["hosttags"]) == ("Disabled", "gpu")
    host = (await desk.ask("updateHost", id=seeds.HOST, allocationstate="Enable"))["host"]
    assert (host["resourcestate"], host["hosttags"]) == ("Enabled", "gpu")
    await desk.refused("updateHost", id=seeds.HOST, allocationstate="Sleep")
    await desk.refused("updateHost", ALICE, id=seeds.HOST, allocationstate="Disable")


async def test_maintenance_is_ordered_once_and_called_off(desk: Desk) -> None:
    ordered = await desk.ask("prepareHostForMaintenance", id=seeds.HOST)
    job = await desk.store.get(Job, ordered["jobid"])
    assert (job.verb, job.needs) == ("evacuate_host", (f"host:{seeds.HOST}",))
    assert (await desk.store.get(Host, seeds.HOST)).maintenance == "preparing"
    await desk.refused("prepareHostForMaintenance", id=seeds.HOST)
    await desk.refused("reconnectHost", id=seeds.HOST)
    done = await desk.ask("cancelHostMaintenance", id=seeds.HOST)
    result = await desk.ask("queryAsyncJobResult", jobid=done["jobid"])
    assert result["jobresult"]["host"]["resourcestate"] == "Enabled"
    assert (await desk.store.get(Cancel, job.id)).by == "admin"
    await desk.refused("cancelHostMaintenance", id=seeds.HOST)


async def test_a_host_that_is_down_is_not_reconnected(desk: Desk) -> None:
    done = await desk.ask("reconnectHost", id=seeds.HOST)
    assert (await desk.ask("queryAsyncJobResult", jobid=done["jobid"]))["jobstatus"] == 1
    assert (await desk.store.get(Host, seeds.HOST)).reconnect > 0
    await desk.observe(Host, seeds.HOST, "monitor", seen=Seen.DOWN, why="no witness reaches it")
    refusal = await desk.refused("reconnectHost", id=seeds.HOST)
    assert "no witness reaches it" in refusal["errortext"]


async def test_a_host_goes_with_its_pools_once_it_has_nothing(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    assert (await desk.refused("deleteHost", id=seeds.HOST))["errorcode"] != 200
    refusal = await desk.refused("deleteHost", id=seeds.HOST, forced="true")
    assert "1 machines: web1" in refusal["errortext"]
    change = desk.store.acting_as("orchestrator").change()
    change.items += await desk.with_parts(seeds.uuid(1_000_001))
    await change.commit()
    await desk.ask("updateHost", id=seeds.HOST, allocationstate="Disable")
    assert await desk.ask("deleteHost", id=seeds.HOST) == {"success": True}
    assert await desk.store.find(Host) == []
    assert await desk.store.find(StoragePool) == []
    assert {row.id for row in await desk.store.find(Retired)} == {seeds.HOST, seeds.POOL}


async def test_a_shared_pool_is_taken_in_by_its_name(desk: Desk) -> None:
    wanted = {
        "zoneid": seeds.ZONE, "clusterid": seeds.CLUSTER, "scope": "CLUSTER",
        "url": "nfs://198.18.0.1/export", "tags": "slow",
    }  # fmt: skip
    refusal = await desk.refused("createStoragePool", ADMIN, **wanted, name="nfs1")
    assert "shared = true" in refusal["errortext"]
    heard(desk, "box", shared="nfs1")
    pool = (await desk.ask("createStoragePool", ADMIN, **wanted, name="nfs1"))["storagepool"]
    assert (pool["name"], pool["scope"], pool["tags"]) == ("nfs1", "CLUSTER", "slow")
    again = await desk.refused("createStoragePool", ADMIN, **wanted, name="nfs1")
    assert again["errorcode"] == 431
    for wrong in ({"scope": "ZONE"}, {"podid": seeds.uuid(99)}):
        await desk.refused("createStoragePool", ADMIN, **{**wanted, **wrong}, name="nfs2")


async def test_a_host_reaches_a_pool_that_another_process_of_its_machine_serves(desk: Desk) -> None:
    host, pool = id_of(CLOUD, "host", "box"), NodeConfig(cluster=CLOUD).shared_pool("nfs1")
    await desk.plant([Host(id=host, name="box", zone=seeds.ZONE, pod=seeds.POD,
                           cluster=seeds.CLUSTER)])  # fmt: skip
    directory: Any = desk.api.bus.directory
    for contract, at in ((Served.COMPUTE, host), (Served.STORAGE, pool)):
        directory.announce(
            Member(
                node=NodeId(f"box/{contract}"), cluster=CLOUD, incarnation=1, number=1, host="box",
                roles=(), calls="", events="", serves=(Serving(contract=contract, at=(at,)),),
            )
        )  # fmt: skip
    await desk.ask("createStoragePool", ADMIN, zoneid=seeds.ZONE, clusterid=seeds.CLUSTER,
                   scope="CLUSTER", url="nfs://198.18.0.1/export", name="nfs1")  # fmt: skip
    assert (await desk.store.get(StoragePool, pool)).hosts == (host,)


async def test_a_pool_in_use_is_neither_maintained_nor_removed(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    refusal = await desk.refused("enableStorageMaintenance", id=seeds.POOL)
    assert "1 machines run with disks in h1-pool: web1" in refusal["errortext"]
    await desk.refused("deleteStoragePool", id=seeds.POOL)
    refusal = await desk.refused("deleteStoragePool", id=seeds.POOL, forced="true")
    assert "1 volumes" in refusal["errortext"]
    assert len(await desk.store.find(StoragePool)) == 1


@pytest.mark.parametrize(
    ("command", "id"), [("deleteStoragePool", seeds.POOL), ("deleteHost", seeds.HOST)]
)
async def test_a_pool_that_has_promised_room_is_not_removed(
    desk: Desk, command: str, id: str
) -> None:
    """To a disk that is on its way there: no volume names the pool yet."""

    async def promise(bytes: int) -> None:
        change = desk.store.change()
        change.count(seeds.POOL, {BYTES: bytes})
        await change.commit()

    await promise(5)
    refusal = await desk.refused(command, id=id, forced="true")
    assert refusal["errorcode"] == 431
    assert "h1-pool has promised 5 bytes to disks" in refusal["errortext"]
    await promise(-5)
    assert await desk.ask(command, id=id, forced="true") == {"success": True}
    assert await desk.store.find(Tally, id=seeds.POOL) == []


async def test_room_that_is_promised_as_its_pool_is_removed_keeps_the_pool(desk: Desk) -> None:
    """Nothing had been promised there before: there is no tally whose revision could tell."""
    commits: list[Commit] = []

    async def promise(commit: Commit) -> None:
        commits.append(commit)
        change = desk.store.change()
        change.count(seeds.POOL, {BYTES: 5})
        await change.commit()

    desk.behind.hinder(promise)
    assert await desk.store.find(Tally, id=seeds.POOL) == []
    refusal = await desk.refused("deleteStoragePool", id=seeds.POOL, forced="true")
    assert "h1-pool has promised 5 bytes to disks" in refusal["errortext"]
    assert len(commits) == 1, "and it was looked at again"
    assert len(await desk.store.find(StoragePool)) == 1
    assert (await desk.store.get(Tally, seeds.POOL)).used == {BYTES: 5}


async def test_a_pool_is_maintained_and_comes_back(desk: Desk) -> None:
    async def job(command: str) -> Any:
        ordered = await desk.ask(command, id=seeds.POOL)
        result = await desk.ask("queryAsyncJobResult", jobid=ordered["jobid"])
        return result["jobresult"]["storagepool"]["state"]

    assert await job("enableStorageMaintenance") == "Maintenance"
    await desk.refused("enableStorageMaintenance", id=seeds.POOL)
    await desk.refused("updateStoragePool", id=seeds.POOL, enabled="true")
    assert not (await desk.store.get(StoragePool, seeds.POOL)).enabled
    assert await job("cancelStorageMaintenance") == "Up"
    await desk.refused("cancelStorageMaintenance", id=seeds.POOL)


@pytest.mark.parametrize("wrong", [{"capacitybytes": "5"}])
async def test_what_is_measured_is_not_set(desk: Desk, wrong: dict[str, str]) -> None:
    await desk.refused("updateStoragePool", ADMIN, id=seeds.POOL, **wrong)
    news = {"tags": "a,b", "enabled": "false"}
    pool = (await desk.ask("updateStoragePool", ADMIN, id=seeds.POOL, **news))["storagepool"]
    assert (pool["tags"], pool["state"]) == ("a,b", "Disabled")


async def test_what_was_added_under_a_name_is_not_added_again(desk: Desk) -> None:
    heard(desk, "box", shared="nfs1")
    place = {"zoneid": seeds.ZONE, "podid": seeds.POD, "clusterid": seeds.CLUSTER}
    asked = {
        "addHost": {**place, "url": "http://box", "hypervisor": "KVM"},
        "createStoragePool": {**place, "url": "nfs://198.18.0.1/x", "name": "nfs1"},
    }
    for command, params in asked.items():
        received = {"command": command, "response": "json", **params}
        first, second = [
            await desk.api.answer(received, caller=ADMIN, key=f"k-{command}") for _ in range(2)
        ]
        assert first.status == second.status == 200, second.body
        assert first.body == second.body
