"""Every place that says how much of a host or pool is given out says the same number.

One machine is moving: it takes of both its hosts, and its disk of both its pools.
"""

from __future__ import annotations

from typing import Any

import pytest

from csnode.cli.given import given_of
from csnode.faults import Full
from csnode.model import fit
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.job import Job, JobState
from csnode.model.orders import MigrateVm
from csnode.model.place import Cluster, Pod
from csnode.model.room import bytes_promised
from csnode.model.stock import Tally, usage
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import HostId, VmId
from csnode.verify import tallies
from csnode.verify.evidence import Evidence
from csnode.verify.rows import Rows
from roles.orchestrator.placement import choose_pool
from tests.api import seeds
from tests.api.conftest import ADMIN, Desk

NET, MOVES = seeds.uuid(500), seeds.uuid(1_000_002)
THERE, POOL_THERE = HostId(seeds.uuid(601)), seeds.uuid(602)
MIB = 1024 * 1024
RATIOS = {"cpuovercommitratio": "1.5", "memoryovercommitratio": "1.25"}


@pytest.fixture
async def moving(desk: Desk) -> Desk:
    """web1 runs on h1; web2 is on its way from h1 to h2, and its disk goes along."""
    spot = {"volume": seeds.uuid(3_000_002), "source": seeds.POOL, "target": POOL_THERE}
    await desk.plant([
        Host(id=THERE, name="h2", zone=seeds.ZONE, pod=seeds.POD, cluster=seeds.CLUSTER,
             seen=Seen.UP, cpus=3, cpu_mhz=1111, memory_mib=3333),
        StoragePool(id=POOL_THERE, name="h2-pool", zone=seeds.ZONE, pod=seeds.POD,
                    cluster=seeds.CLUSTER, host=THERE, total_bytes=10 * seeds.GIB,
                    overprovisioning=1.5),
        *seeds.network(NET), *seeds.machine(1, NET, cpus=2),
        *seeds.machine(2, NET, moving_to=THERE, memory_mib=700),
        Job(id=seeds.uuid(603), verb=MigrateVm.verb(), order={"vm": MOVES}, object_kind="vm",
            object_id=MOVES, state=JobState.RUNNING, results={"spots": [spot]}),
    ])  # fmt: skip
    await desk.ask("updateCluster", ADMIN, id=seeds.CLUSTER, **RATIOS)
    return desk


async def listed(desk: Desk, command: str, key: str, **params: str) -> dict[str, Any]:
    return {row["id"]: row for row in (await desk.ask(command, ADMIN, **params))[key]}


async def in_cluster(desk: Desk) -> dict[str, tuple[int, int]]:
    """What is used, and what there is."""
    found = (await desk.ask("listCapacity", ADMIN, clusterid=seeds.CLUSTER))["capacity"]
    return {line["name"]: (line["capacityused"], line["capacitytotal"]) for line in found}


async def test_a_host_that_a_machine_moves_to_shows_what_it_has_given_it(moving: Desk) -> None:
    host = (await listed(moving, "listHosts", "host", type="Routing"))[THERE]
    assert (host["cpuallocatedvalue"], host["cpuwithoverprovisioning"]) == (500, "4999")
    assert (host["memoryallocated"], host["memorywithoverprovisioning"]) == (
        700 * MIB, str(4166 * MIB))  # fmt: skip


async def test_hosts_capacity_migration_placement_limits_and_commands_say_the_same(
    moving: Desk,
) -> None:
    shown, total = await listed(moving, "listHosts", "host", type="Routing"), [0, 0, 0, 0]
    store = moving.store
    clusters = {cluster.id: cluster for cluster in await store.find(Cluster)}
    within, given = fit.places(clusters.values(), await store.find(Pod)), await given_of(store)
    vm = await store.get(Vm, MOVES)
    for host in await store.find(Host):
        row, used = shown[host.id], usage(await store.get(Tally, host.id))
        most = fit.limits(host, clusters[host.cluster])
        mhz, mib = row["cpuallocatedvalue"], row["memoryallocated"] // MIB
        mhz_most, mib_most = int(row["cpuwithoverprovisioning"]), most["memory"]
        assert (used["mhz"], used["memory"]) == (mhz, mib)
        assert (most["mhz"], str(mib_most * MIB)) == (mhz_most, row["memorywithoverprovisioning"])
        assert given.columns(host)["memory MiB"] == f"{mib}/{mib_most}"
        need = fit.Need(zone=vm.zone, cpus=1, memory_mib=mib_most + 1)
        why = fit.why_not(need, host, within, {host.id: used})
        assert why == f"needs {mib_most + 1} MiB, {mib_most - mib} of {mib_most} are free"
        total = [sum(pair) for pair in zip(total, (mhz, mhz_most, mib, mib_most), strict=True)]
    lines = await in_cluster(moving)
    assert [*lines["CPU"], *lines["MEMORY"]] == [*total[:2], *(mib * MIB for mib in total[2:])]
    web1 = VmId(seeds.uuid(1_000_001))
    to = await listed(moving, "findHostsForMigration", "host", virtualmachineid=web1)
    assert to[THERE]["memoryallocated"] == str(shown[THERE]["memoryallocated"])
    assert to[THERE]["cpuallocatedvalue"] == shown[THERE]["cpuallocatedvalue"]


async def test_pools_capacity_and_placement_say_the_same_of_disks_that_move(moving: Desk) -> None:
    shown = await listed(moving, "listStoragePools", "storagepool")
    assert shown[POOL_THERE]["disksizeallocated"] == 2 * seeds.GIB
    assert shown[seeds.POOL]["disksizeallocated"] == 4 * seeds.GIB
    used = {id: bytes_promised(await moving.store.get(Tally, id)) for id in shown}
    assert used == {id: pool["disksizeallocated"] for id, pool in shown.items()}
    lines = await in_cluster(moving)
    assert lines["STORAGE_ALLOCATED"] == lines["LOCAL_STORAGE"]
    assert lines["STORAGE_ALLOCATED"] == (sum(used.values()), (2 * 100 + 15) * seeds.GIB)
    pool = await moving.store.get(StoragePool, POOL_THERE)
    with pytest.raises(Full, match=r"needs 14\.0 GiB, 13\.0 GiB of 15\.0 GiB are free"):
        choose_pool([pool], 14 * seeds.GIB, (), used, {})


async def test_verify_counts_what_is_shown(moving: Desk) -> None:
    rows = Rows()
    for kind in (Host, Cluster, StoragePool, Vm, Volume, Job, Tally):
        rows.of(kind).update({row.id: row for row in await moving.store.find(kind)})
    seen = Evidence(rows)
    assert [*tallies.hosts(seen), *tallies.pools(seen)] == []
