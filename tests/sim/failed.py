"""A machine whose deploy failed at every host, and what it holds."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.directory.directory import Member, Serving
from csnode.model.host import Host
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.network import Nic
from csnode.model.stock import Taken, Tally
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.types import NodeId
from csnode.verify.judge import verify
from roles.compute.drivers import sim as hypervisors
from tests.sim.world import agrees, gone, prepared, tear_down

LIMITS = ("user_vm", "cpu", "memory", "volume", "primary_storage")
ONE = dict.fromkeys(LIMITS, 1) | {"memory": 512, "primary_storage": 2}
"""What a machine of these stories counts for; a second one shows what is given back twice."""

WEB = {"name": "web", "ipaddress": "10.1.1.77", "macaddress": "02:11:22:33:44:55"}


async def hosts_refuse(cloud: SimCloud, refuse: bool = True) -> None:
    """Every host refuses to run machines, or does so no more."""
    for host in await cloud.store.find(Host):
        failing = hypervisors.outside(host.id).failing
        failing.add("ensure_running") if refuse else failing.clear()


async def limit(cloud: SimCloud, user_vm: int) -> None:
    """The account that asks may have so many machines."""
    (account,) = [a for a in await cloud.store.find(Account) if a.name == "admin"]
    change = cloud.store.change()
    change.update(Account, account.id, limits={**account.limits, "user_vm": user_vm})
    await change.commit()


async def a_failed_machine(cloud: SimCloud, **params: str) -> str:
    """The id of a machine whose deploy failed at every host; the hosts are well again."""
    await hosts_refuse(cloud)
    job = await cloud.settle("deployVirtualMachine", **await prepared(cloud), **params)
    assert job["jobstatus"] == 2, job
    await hosts_refuse(cloud, False)
    return (await cloud.store.get(Job, job["jobid"])).object_id


async def a_machine_without_room(cloud: SimCloud, **params: str) -> str:
    """The id of a machine that no host has room for."""
    made = await cloud.call(
        "createServiceOffering", name="huge", displaytext="huge",
        cpunumber="255", cpuspeed="500", memory="512",
    )  # fmt: skip
    ready = await prepared(cloud) | {"serviceofferingid": made["serviceoffering"]["id"]}
    job = await cloud.settle("deployVirtualMachine", **ready, **params)
    assert job["jobstatus"] == 2, job
    return (await cloud.store.get(Job, job["jobid"])).object_id


async def used(cloud: SimCloud) -> dict[str, int]:
    """What the one account that has machines is counted for."""
    (account,) = [a for a in await cloud.store.find(Account) if a.name == "admin"]
    tallies = await cloud.store.find(Tally, id=f"account:{account.id}")
    return {what: tallies[0].used.get(what, 0) if tallies else 0 for what in LIMITS}


async def rows(cloud: SimCloud) -> list[Any]:
    """Everything that a start takes from, and what it is written to."""
    kinds = (Vm, Nic, Taken, Tally, Job)
    return [await cloud.store.find(kind) for kind in kinds]


async def card(cloud: SimCloud, vm: str) -> Nic:
    return (await cloud.store.find(Nic, vm=vm))[0]


async def starts(cloud: SimCloud, vm: str) -> None:
    """The machine starts, and holds what it needs."""
    job = await cloud.settle("startVirtualMachine", id=vm)
    assert job["jobstatus"] == 1, job
    assert not (await cloud.store.get(Vm, vm)).given_back


async def fails_to_start(cloud: SimCloud, vm: str) -> None:
    """The machine is refused by every host once more; the hosts are well again."""
    await hosts_refuse(cloud)
    assert (await cloud.settle("startVirtualMachine", id=vm))["jobstatus"] == 2
    await hosts_refuse(cloud, False)


async def whole(cloud: SimCloud) -> bool:
    """Verify finds nothing; and nothing is left once all is taken away."""
    assert await agrees(cloud)
    async with asyncio.timeout(240):
        while (await verify(cloud.node.bus, cloud.store, 1.5)).findings:
            await asyncio.sleep(10)
    await tear_down(cloud)
    left = await gone(cloud)
    assert left == []
    return True


def older(role: str) -> Member:
    """A process of the version before, as it announces itself."""
    return Member(
        node=NodeId(f"old/{role}"), cluster="csnode", incarnation=1, number=1, host="old",
        roles=(role,), serves=(Serving(contract="Data"),) if role == "data" else (), calls="",
        events="", wire=3,
    )  # fmt: skip
