"""Damage, planted in the rows of a small cloud, or in the database itself."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from csnode.clock import wall
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account
from csnode.model.job import Cancel, Job, JobState
from csnode.model.network import Network, Nic
from csnode.model.place import Cluster
from csnode.model.stock import Lock, Range, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from csnode.types import (
    HostId,
    NodeId,
    Power,
    VmId,
)
from csnode.uuids import new_id
from roles.compute.drivers import sim as hypervisors
from tests.sim.scene import LOST, Scene, damage

# -- jobs ----------------------------------------------------------------------------------


def a_job(**columns: Any) -> Job:
    return Job(id=LOST, verb="reboot_vm", order={"vm": LOST}, created=wall() - 3600, **columns)


@damage("job-stuck", cured=True)
async def a_job_is_stuck(at: Scene) -> None:
    await at.make(a_job(state=JobState.STUCK, fault="an undo was refused", ended=wall()))


@damage("job-without-lease")
async def a_jobs_orchestrator_is_gone(at: Scene) -> None:
    at.orchestrator_sleeps()
    await at.make(a_job(state=JobState.RUNNING, owner=NodeId("nobody#1")))


@damage("job-unclaimed")
async def nobody_claims_a_job(at: Scene) -> None:
    at.orchestrator_sleeps()
    await at.make(a_job())


@damage("job-without-lock")
async def a_job_works_without_its_lock(at: Scene) -> None:
    me = at.cloud.role("orchestrator").work.me
    at.orchestrator_sleeps()
    await at.make(a_job(state=JobState.RUNNING, owner=me, needs=(f"vm:{LOST}",)))


@damage("lock-without-job", cured=True)
async def a_lock_is_left(at: Scene) -> None:
    await at.make(Lock(id=f"vm:{at.vm.id}", job=LOST))


@damage("cancel-without-job", cured=True)
async def a_cancel_is_left(at: Scene) -> None:
    await at.make(Cancel(id=LOST, by="somebody", created=wall() - 3600))


# -- machines, by their records --------------------------------------------------------------


@damage("row-unreadable")
async def a_row_is_garbled(at: Scene) -> None:
    cluster = (await at.cloud.store.find(Cluster))[0]
    at.sql("UPDATE cluster SET row = ? WHERE id = ?", '{"id": 7}', cluster.id)


@damage("capacity-held", cured=True)
async def a_machine_that_is_off_holds_capacity(at: Scene) -> None:
    hypervisors.outside(at.host).machines[VmId(at.vm.id)].power = Power.OFF
    await at.edit(Vm, at.vm.id, power=Power.OFF)


@damage("machine-in-transition")
async def a_running_machine_is_wanted_stopped(at: Scene) -> None:
    await at.edit(Vm, at.vm.id, want=Want.STOPPED)


@damage("machine-in-transition")
async def a_stopped_machine_is_wanted_gone(at: Scene) -> None:
    await at.edit(Vm, at.halted.id, want=Want.GONE)


@damage("host-in-doubt", cured=True)
async def a_host_never_said_that_a_machine_is_gone(at: Scene) -> None:
    other = await at.another(Host, at.host)
    await at.edit(Vm, at.vm.id, maybe_on=(at.host, HostId(other)))


@damage("machine-half-moved")
async def a_machine_is_on_its_way_and_nobody_moves_it(at: Scene) -> None:
    other = await at.another(Host, at.host)
    await at.edit(Vm, at.vm.id, moving_to=HostId(other), maybe_on=(at.host, HostId(other)))


@damage("machine-on-no-host")
async def a_machines_host_is_gone(at: Scene) -> None:
    await at.edit(Vm, at.vm.id, host=LOST)


@damage("machine-without-disk")
async def a_volumes_row_is_deleted(at: Scene) -> None:
    await at.drop(Volume, at.volume.id)


@damage("volume-of-nobody")
async def a_volume_is_of_no_machine(at: Scene) -> None:
    await at.make(replace(at.volume, id=LOST, revision=0, vm=VmId(LOST), pool=None, ready=False))


@damage("volume-without-pool")
async def a_volume_is_in_no_pool(at: Scene) -> None:
    await at.edit(Volume, at.volume.id, pool=None)


@damage("volume-without-template")
async def a_template_in_use_is_deleted(at: Scene) -> None:
    await at.drop(Template, at.vm.template)


@damage("nic-of-nobody")
async def a_card_is_of_no_machine(at: Scene) -> None:
    card = replace(at.nic, id=LOST, revision=0, vm=VmId(LOST), named=None, carded=None)
    await at.make(replace(card, mac="02:00:00:00:00:01", address=""))


@damage("nic-without-network")
async def a_card_is_in_no_network(at: Scene) -> None:
    await at.edit(Nic, at.nic.id, network=LOST)


@damage("dangling-reference")
async def a_cluster_is_in_no_pod(at: Scene) -> None:
    cluster = (await at.cloud.store.find(Cluster))[0]
    await at.edit(Cluster, cluster.id, pod=LOST)


@damage("network-without-range")
async def a_networks_range_is_deleted(at: Scene) -> None:
    await at.drop(Range, f"guest:{at.network.id}")


@damage("range-of-nobody")
async def a_range_is_of_no_network(at: Scene) -> None:
    await at.make(Range(id=f"guest:{LOST}", low=1, high=9, form="ipv4"))


# -- what is taken ---------------------------------------------------------------------------


async def release(at: Scene, owner: str, range: str) -> None:
    change = at.cloud.store.change()
    change.give(owner, range)
    await change.commit()


@damage("taken-by-nobody", cured=True)
async def an_address_is_taken_by_no_card(at: Scene) -> None:
    change = at.cloud.store.change()
    change.take(f"guest:{at.network.id}", LOST)
    await change.commit()


@damage("taken-by-nobody", cured=True)
async def a_vni_is_taken_by_no_network(at: Scene) -> None:
    change = at.cloud.store.change()
    change.take(f"vni:{at.network.zone}", LOST)
    await change.commit()


@damage("address-not-taken", cured=True)
async def an_address_in_use_is_given_back(at: Scene) -> None:
    await release(at, at.nic.id, f"guest:{at.network.id}")


@damage("address-twice")
async def two_cards_have_one_address(at: Scene) -> None:
    other = (await at.cloud.store.find(Nic, vm=at.other.id))[0]
    await at.edit(Nic, other.id, address=at.nic.address)


@damage("mac-twice")
async def two_cards_have_one_mac(at: Scene) -> None:
    other = (await at.cloud.store.find(Nic, vm=at.other.id))[0]
    await at.edit(Nic, other.id, mac=at.nic.mac)


@damage("name-twice")
async def two_machines_of_a_network_have_one_name(at: Scene) -> None:
    await at.edit(Vm, at.other.id, name=at.vm.name)


@damage("gave-back-in-use")
async def a_machine_runs_that_gave_back_what_it_took(at: Scene) -> None:
    await at.edit(Vm, at.vm.id, given_back=True)


@damage("gave-back-in-use")
async def a_machine_that_gave_back_has_an_address(at: Scene) -> None:
    await at.edit(Vm, at.halted.id, given_back=True)


@damage("card-without-address")
async def a_card_has_no_address(at: Scene) -> None:
    await at.edit(Nic, at.nic.id, address="")


@damage("vni-not-taken", cured=True)
async def a_vni_in_use_is_given_back(at: Scene) -> None:
    await release(at, at.network.id, f"vni:{at.network.zone}")


def a_network(at: Scene, **columns: Any) -> Network:
    none = replace(at.network, id=LOST, revision=0, router=None, up=False, public_address="")
    return replace(none, vni=7777, **columns) if "vni" not in columns else replace(none, **columns)


@damage("vni-twice")
async def two_networks_have_one_vni(at: Scene) -> None:
    await at.make(a_network(at, vni=at.network.vni))


@damage("public-address-not-taken", cured=True)
async def a_public_address_in_use_is_given_back(at: Scene) -> None:
    await release(at, at.network.id, f"public:{at.network.zone}")


@damage("public-address-twice")
async def two_networks_have_one_public_address(at: Scene) -> None:
    await at.make(a_network(at, public_address=at.network.public_address))


@damage("number-not-taken", cured=True)
async def a_number_in_use_is_given_back(at: Scene) -> None:
    await release(at, at.vm.id, "vm")


@damage("number-twice")
async def two_machines_have_one_number(at: Scene) -> None:
    await at.edit(Vm, at.other.id, number=at.vm.number)


# -- what is counted -------------------------------------------------------------------------


async def count(at: Scene, owner: str, **by: int) -> None:
    change = at.cloud.store.change()
    change.count(owner, by)
    await change.commit()


@damage("host-tally-high", cured=True)
async def a_host_is_counted_too_full(at: Scene) -> None:
    await count(at, at.host, mhz=1)


@damage("host-tally-low", cured=True)
async def a_host_is_counted_too_empty(at: Scene) -> None:
    await count(at, at.host, memory=-512)


@damage("host-tally-low", cured=True)
async def a_host_is_not_counted_at_all(at: Scene) -> None:
    await at.drop(Tally, at.host)


@damage("pool-tally-high", cured=True)
async def a_pool_is_counted_too_full(at: Scene) -> None:
    await count(at, at.pool, bytes=1)


@damage("pool-tally-low", cured=True)
async def a_pool_is_counted_too_empty(at: Scene) -> None:
    await count(at, at.pool, bytes=-512)


@damage("account-tally-off", cured=True)
async def an_account_is_counted_twice(at: Scene) -> None:
    await count(at, f"account:{at.vm.account}", user_vm=1, volume=1)


@damage("limit-passed")
async def an_account_has_more_than_it_may(at: Scene) -> None:
    await at.edit(Account, at.vm.account, limits={"user_vm": 1})


@damage("capacity-over")
async def a_host_has_shrunk(at: Scene) -> None:
    await at.edit(Host, at.host, memory_mib=256)


# -- the judgement itself --------------------------------------------------------------------


@damage("books")
async def an_entry_of_the_feed_is_lost(at: Scene) -> None:
    at.sql("DELETE FROM feed WHERE number = (SELECT max(number) - 5 FROM feed)")


@damage("not-asked")
async def a_host_does_not_answer(at: Scene) -> None:
    served = next(h for h in at.cloud.role("compute").hosts if h.id == at.host)
    at.cloud.node.bus.retire(served)


@damage("not-asked")
async def a_pool_does_not_answer(at: Scene) -> None:
    await at.make(replace(await at.cloud.store.get(StoragePool, at.pool), id=new_id(), revision=0))
