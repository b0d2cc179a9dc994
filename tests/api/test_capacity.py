"""listCapacity and listManagementServers: what there is, and who answers."""

from __future__ import annotations

from typing import Any

from csnode.directory.directory import Health, Member
from csnode.model.host import Host, StoragePool
from csnode.types import NodeId
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk

MIB = 1024 * 1024


async def lines(desk: Desk, **params: str) -> dict[str, Any]:
    answer = await desk.ask("listCapacity", ADMIN, **params)
    return {line["name"]: line for line in answer.get("capacity", [])}


async def test_capacity_is_the_sum_of_what_hosts_have_and_machines_took(desk: Desk) -> None:
    before = await lines(desk, zoneid=seeds.ZONE)
    assert set(before) == {
        "MEMORY", "CPU", "STORAGE", "STORAGE_ALLOCATED", "LOCAL_STORAGE", "CPU_CORE",
        "VIRTUAL_NETWORK_PUBLIC_IP", "VLAN",
    }  # fmt: skip
    hosts, pools = await desk.store.find(Host), await desk.store.find(StoragePool)
    assert before["MEMORY"]["capacitytotal"] == MIB * sum(h.memory_mib for h in hosts)
    assert before["STORAGE"]["capacityused"] == sum(p.used_bytes for p in pools)
    net = seeds.uuid(500)
    await desk.plant([*seeds.network(net), *seeds.machine(1, net, cpus=3, memory_mib=1000)])
    after = await lines(desk, zoneid=seeds.ZONE)
    assert after["MEMORY"]["capacityused"] - before["MEMORY"]["capacityused"] == 1000 * MIB
    assert after["CPU_CORE"]["capacityused"] - before["CPU_CORE"]["capacityused"] == 3
    assert after["CPU"]["capacityallocated"] - before["CPU"]["capacityallocated"] == 3 * 500


async def test_numbers_and_addresses_are_counted_with_their_networks(desk: Desk) -> None:
    wanted = {"name": "a", "zoneid": seeds.ZONE, "networkofferingid": seeds.NET_OFFERING}
    await desk.ask("createNetwork", ALICE, **wanted)
    found = await lines(desk, zoneid=seeds.ZONE)
    assert found["VLAN"]["capacityused"] == found["VIRTUAL_NETWORK_PUBLIC_IP"]["capacityused"] == 1


async def test_capacity_is_listed_by_place_type_and_usage(desk: Desk) -> None:
    (cluster,) = (await desk.ask("listClusters"))["cluster"]
    by_cluster = await lines(desk, clusterid=cluster["id"])
    assert by_cluster["MEMORY"]["clustername"] == cluster["name"]
    assert "VLAN" not in by_cluster
    assert list(await lines(desk, type="1")) == ["CPU"]
    used = [float(line["percentused"]) for line in (await lines(desk, sortby="usage")).values()]
    assert used == sorted(used, reverse=True)
    await desk.refused("listCapacity", sortby="name")
    await desk.refused("listCapacity", page="0", pagesize="5")
    await desk.refused("listCapacity", ALICE)


async def test_overcommit_of_a_cluster_is_what_its_hosts_give_out(desk: Desk) -> None:
    """Hosts, cluster and capacity say the same, and at once."""
    before = await lines(desk, zoneid=seeds.ZONE)
    (cluster,) = (await desk.ask("listClusters"))["cluster"]
    ratios = {"cpuovercommitratio": "2.5", "memoryovercommitratio": "1.5"}
    changed = (await desk.ask("updateCluster", ADMIN, id=cluster["id"], **ratios))["cluster"]
    assert (changed["cpuovercommitratio"], changed["memoryovercommitratio"]) == ("2.5", "1.5")
    after = await lines(desk, zoneid=seeds.ZONE)
    for name, factor in (("CPU", 2.5), ("CPU_CORE", 2.5), ("MEMORY", 1.5)):
        assert after[name]["capacitytotal"] == factor * before[name]["capacitytotal"]
    rows = {host.id: host for host in await desk.store.find(Host)}
    for host in (await desk.ask("listHosts", ADMIN, type="Routing"))["host"]:
        row = rows[host["id"]]
        assert float(host["cpuwithoverprovisioning"]) == row.cpus * row.cpu_mhz * 2.5
        assert float(host["memorywithoverprovisioning"]) == row.memory_mib * MIB * 1.5


async def test_overcommit_that_cannot_be_is_refused_and_changes_nothing(desk: Desk) -> None:
    (cluster,) = (await desk.ask("listClusters"))["cluster"]
    for name in ("cpuovercommitratio", "memoryovercommitratio"):
        for value in ("0", "0.5", "-1", "101", "nan", "inf", "many"):
            body = await desk.refused("updateCluster", ADMIN, id=cluster["id"], **{name: value})
            assert body["errorcode"] == 431, (name, value, body)
    assert (await desk.ask("listClusters"))["cluster"] == [cluster]


async def test_management_servers_are_the_nodes_with_an_api(desk: Desk) -> None:
    def member(name: str, *roles: str, health: Health = Health.OK) -> Member:
        return Member(
            node=NodeId(name), cluster="c", incarnation=1, number=1, host=name, roles=roles,
            serves=(), calls="tcp://[::ffff:198.18.0.7]:4000", events="", health=health,
            version="9.9",
        )  # fmt: skip

    directory: Any = desk.api.bus.directory
    directory.announce(member("one/api", "api", "orchestrator"))
    directory.announce(member("two/api", "api", health=Health.DRAINING))
    directory.announce(member("three", "compute"))
    found = (await desk.ask("listManagementServers"))["managementserver"]
    assert [(each["name"], each["state"]) for each in found] == [
        ("one/api", "Up"), ("two/api", "PreparingForShutDown")]  # fmt: skip
    assert found[0]["serviceip"] == "198.18.0.7"
    (one,) = (await desk.ask("listManagementServers", id=found[1]["id"]))["managementserver"]
    assert one["name"] == "two/api"
