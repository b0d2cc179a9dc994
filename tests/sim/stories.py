"""A story for every order: how a cloud is brought to the point, and how it is ordered there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from csnode.data.store import Store
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.network import Network
from csnode.model.offering import NetworkOffering
from csnode.model.orders import FenceHost, Order, ReleaseVm, ReturnHost, ShutdownNetwork
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import HostId, NetworkId, VmId
from roles.compute.drivers import sim as hypervisors
from tests.sim.world import URL, a_machine, first, prepared

PERSISTENT = "11111111-1111-4111-8111-111111111111"


class Story(NamedTuple):
    """`ready` says on what to act, and `order` orders it; it answers the id of the job."""

    verb: str
    ready: Callable[[SimCloud], Awaitable[str]]
    order: Callable[[SimCloud, str], Awaitable[str]]


async def job_of(cloud: SimCloud, verb: str, id: str) -> str:
    """The last job of that verb about the object."""
    jobs = [j for j in await cloud.store.find(Job, object_id=id) if j.verb == verb]
    return max(jobs, key=lambda job: (job.created, job.id)).id


def asks(command: str, **more: str) -> Callable[[SimCloud, str], Awaitable[str]]:
    """An asynchronous command about an object."""

    async def order(cloud: SimCloud, id: str) -> str:
        return str((await cloud.call(command, id=id, **more))["jobid"])

    return order


async def nothing(cloud: SimCloud) -> str:
    return ""


async def deploy(cloud: SimCloud, _: str) -> str:
    return str((await cloud.call("deployVirtualMachine", **await prepared(cloud)))["jobid"])


async def migrate(cloud: SimCloud, id: str) -> str:
    return str((await cloud.call("migrateVirtualMachine", virtualmachineid=id))["jobid"])


async def stopped(cloud: SimCloud) -> str:
    id = await a_machine(cloud)
    await cloud.settle("stopVirtualMachine", id=id)
    return id


async def failed(cloud: SimCloud) -> str:
    """A machine in Error, which has given back what it took: every host refused it once."""
    params, hosts = await prepared(cloud), await cloud.store.find(Host)
    for host in hosts:
        hypervisors.outside(host.id).failing.add("ensure_running")
    made = await cloud.call("deployVirtualMachine", **params)
    await cloud.wait(made["jobid"])
    for host in hosts:
        hypervisors.outside(host.id).failing.clear()
    return str(made["id"])


async def destroyed(cloud: SimCloud) -> str:
    id = await a_machine(cloud)
    await cloud.settle("destroyVirtualMachine", id=id)
    return id


async def register(cloud: SimCloud, _: str) -> str:
    made = await cloud.call(
        "registerTemplate", name="other", displaytext="other", url=URL, format="QCOW2",
        hypervisor="KVM", zoneid=(await first(cloud, "listZones"))["id"],
        ostypeid=(await first(cloud, "listOsTypes"))["id"],
    )  # fmt: skip
    return await job_of(cloud, "fetch_template", made["template"][0]["id"])


async def template(cloud: SimCloud) -> str:
    return (await prepared(cloud))["templateid"]


async def persistent(cloud: SimCloud) -> str:
    change = cloud.store.change()
    change.create(
        NetworkOffering(id=PERSISTENT, name="kept", services=("Dhcp", "SourceNat"), persistent=True)
    )
    await change.commit()
    return str((await first(cloud, "listZones"))["id"])


async def create_network(cloud: SimCloud, zone: str) -> str:
    made = await cloud.call(
        "createNetwork", name="n", displaytext="n", zoneid=zone, networkofferingid=PERSISTENT
    )
    return await job_of(cloud, "implement_network", made["network"]["id"])


async def idle_network(cloud: SimCloud) -> str:
    machine = await a_machine(cloud)
    await cloud.settle("destroyVirtualMachine", id=machine, expunge="true")
    return str((await first(cloud, "listNetworks"))["id"])


async def shut(cloud: SimCloud, id: str) -> str:
    """As the sweep does: the network itself stays."""
    network = await cloud.store.get(Network, id)
    change = cloud.store.change()
    job = change.order(ShutdownNetwork(network=NetworkId(id)), account=network.account)
    await change.commit()
    return job.id


async def host_of_a_machine(cloud: SimCloud) -> str:
    return str((await cloud.store.get(Vm, await a_machine(cloud))).host)


def about_host(order: Callable[[HostId], Order]) -> Callable[[SimCloud, str], Awaitable[str]]:
    """As the monitor orders it; before the monitor can."""

    async def ask(cloud: SimCloud, id: str) -> str:
        change = cloud.store.change()
        job = change.order(order(HostId(id)))
        await change.commit()
        return job.id

    return ask


async def take_back(cloud: SimCloud, id: str) -> str:
    """A machine that ran there runs elsewhere by now, or so its row says."""
    change = Store(cloud.node.bus, "orchestrator").change()
    change.update(Host, id, fenced=1.0, fence_proof="a test says so")
    job = change.order(ReturnHost(host=HostId(id)))
    await change.commit()
    return job.id


async def release(cloud: SimCloud, id: str) -> str:
    change = Store(cloud.node.bus, "orchestrator").change()
    vm = await cloud.store.get(Vm, id)
    change.update(Host, str(vm.host), fenced=1.0, fence_proof="a test says so")
    job = change.order(ReleaseVm(vm=VmId(id)), account=vm.account)
    await change.commit()
    return job.id


STORIES = {
    "deploy": Story("deploy_vm", nothing, deploy),
    "start": Story("start_vm", stopped, asks("startVirtualMachine")),
    "start-error": Story("start_vm", failed, asks("startVirtualMachine")),
    "stop": Story("stop_vm", a_machine, asks("stopVirtualMachine")),
    "reboot": Story("reboot_vm", a_machine, asks("rebootVirtualMachine")),
    "migrate": Story("migrate_vm", a_machine, migrate),
    "destroy": Story("destroy_vm", a_machine, asks("destroyVirtualMachine")),
    "destroy-expunge": Story(
        "destroy_vm", a_machine, asks("destroyVirtualMachine", expunge="true")
    ),
    "expunge": Story("expunge_vm", destroyed, asks("expungeVirtualMachine")),
    "fetch": Story("fetch_template", nothing, register),
    "delete": Story("delete_template", template, asks("deleteTemplate")),
    "implement": Story("implement_network", persistent, create_network),
    "shutdown": Story("shutdown_network", idle_network, asks("deleteNetwork")),
    "shutdown-idle": Story("shutdown_network", idle_network, shut),
    "fence": Story(
        "fence_host", host_of_a_machine, about_host(lambda host: FenceHost(host=host, word="off"))
    ),
    "fence-told": Story(
        "fence_host",
        host_of_a_machine,
        about_host(lambda host: FenceHost(host=host, word="the rack burnt down")),
    ),
    "evacuate": Story("evacuate_host", host_of_a_machine, asks("prepareHostForMaintenance")),
    "return": Story("return_host", host_of_a_machine, take_back),
    "release": Story("release_vm", a_machine, release),
}
