"""What tests of virtual worlds have in common: set a cloud up, and look at what exists outside."""

from __future__ import annotations

from typing import Any

from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.model.host import Host, StoragePool
from csnode.model.network import Nic
from csnode.model.stock import Lock, Taken, Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from roles.compute.drivers import sim as hypervisors
from roles.network.drivers import sim as networks
from roles.storage.drivers import sim as pools

URL = "http://images.example/tiny.qcow2"


def forget_outside() -> None:
    """New hardware for the next world."""
    for module in (hypervisors, networks, pools):
        module.forget_all()


async def first(cloud: SimCloud, command: str, **params: str) -> dict[str, Any]:
    """The first object a list command answers."""
    answer = await cloud.call(command, **params)
    return next(v for k, v in answer.items() if k != "count")[0]


async def prepared(cloud: SimCloud) -> dict[str, str]:
    """What deployVirtualMachine needs: the zone, an offering, and a template that is ready."""
    zone = (await first(cloud, "listZones"))["id"]
    offering = (await first(cloud, "listServiceOfferings", name="Small Instance"))["id"]
    known = await cloud.call("listTemplates", templatefilter="all", name="tiny")
    if not known:
        made = await cloud.call(
            "registerTemplate", name="tiny", displaytext="tiny", url=URL, format="QCOW2",
            hypervisor="KVM", zoneid=zone, ostypeid=(await first(cloud, "listOsTypes"))["id"],
        )  # fmt: skip
        known = made
    template = known["template"][0]["id"]
    import asyncio

    async with asyncio.timeout(3600):
        while not (await first(cloud, "listTemplates", templatefilter="all", id=template))[
            "isready"
        ]:
            await asyncio.sleep(1)
    return {"zoneid": zone, "serviceofferingid": offering, "templateid": template}


async def a_machine(cloud: SimCloud) -> str:
    """The id of a running machine."""
    job = await cloud.settle("deployVirtualMachine", **await prepared(cloud))
    assert job["jobstatus"] == 1, job
    return str(job["jobresult"]["virtualmachine"]["id"])


async def machines(cloud: SimCloud) -> dict[str, str]:
    """What the hosts really hold."""
    found: dict[str, str] = {}
    for host in await cloud.store.find(Host):
        seen = await cloud.node.bus.ask(Compute, at=host.id).survey()
        assert not set(seen) & set(found), "a machine is on two hosts"
        found |= {vm: str(power) for vm, power in seen.items()}
    return found


async def volumes(cloud: SimCloud) -> list[str]:
    """What the pools really hold."""
    held = [
        await cloud.node.bus.ask(Storage, at=pool.id).survey()
        for pool in await cloud.store.find(StoragePool)
    ]
    return sorted(volume for holdings in held for volume in holdings.volumes)


async def leases(cloud: SimCloud) -> list[str]:
    """The cards that routers know."""
    held = [
        await cloud.node.bus.ask(Networking, at=host.id).survey()
        for host in await cloud.store.find(Host)
    ]
    return sorted(nic for seen in held for nics in seen.values() for nic in nics)


async def leftovers(cloud: SimCloud) -> list[str]:
    """What is there although no machine is: outside, and in the records."""
    left = [f"machine {vm}" for vm in await machines(cloud)]
    left += [f"volume {v}" for v in await volumes(cloud)]
    left += [f"lease {nic}" for nic in await leases(cloud)]
    for kind in (Vm, Volume, Nic, Lock):
        left += [f"{kind.kind} row {row.id}" for row in await cloud.store.find(kind)]
    guests = [t for t in await cloud.store.find(Taken) if t.range.startswith("guest:")]
    left += [f"address {taken.id}" for taken in guests]
    for tally in await cloud.store.find(Tally):
        left += [
            f"tally {tally.id} {what}={amount}"
            for what, amount in tally.used.items()
            if amount and what not in ("network", "public_ip", "template", "secondary_storage")
        ]
    return left
