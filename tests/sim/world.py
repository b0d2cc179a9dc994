"""What tests of virtual worlds have in common: set a cloud up, and look at what exists outside."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from csnode.clock import now
from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.model.host import Host, StoragePool
from csnode.model.job import Cancel, Job
from csnode.model.network import Network, Nic
from csnode.model.stock import Lock, Range, Taken, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from csnode.types import Power
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


async def held(cloud: SimCloud) -> dict[str, Any]:
    """What hosts, pools and routers hold: machines, bytes and leases. Routers may come and go."""
    pools = [
        await cloud.node.bus.ask(Storage, at=pool.id).survey()
        for pool in await cloud.store.find(StoragePool)
    ]
    return {
        "machines": await machines(cloud),
        "volumes": sorted(volume for pool in pools for volume in pool.volumes),
        "leases": await leases(cloud),
    }


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


# -- does the record say what is? ----------------------------------------------------------


async def agrees(cloud: SimCloud, seconds: float = 240) -> bool:
    """Whether record and outside agree, at the latest once the sweeps have been round."""
    until = now() + seconds
    while wrong := await disagreements(cloud):
        assert now() < until, "\n".join(wrong)
        await asyncio.sleep(10)
    return True


async def disagreements(cloud: SimCloud) -> list[str]:
    """What the record says and is not so, and what is and is not in the record."""
    store = cloud.store
    wrong = [f"job {j.verb} {j.state}" for j in await store.find(Job) if j.open]
    wrong += [f"{r.kind} {r.id}" for kind in (Lock, Cancel) for r in await store.find(kind)]
    wrong += [f"host {host.name} is fenced" for host in await store.find(Host) if host.fenced]
    return [*wrong, *await _wrong_machines(cloud), *await _wrong_disks(cloud),
            *await _wrong_networks(cloud)]  # fmt: skip


async def _wrong_machines(cloud: SimCloud) -> list[str]:
    rows = {vm.id: vm for vm in await cloud.store.find(Vm)}
    on: dict[str, str] = {}
    wrong: list[str] = []
    for host in await cloud.store.find(Host):
        for vm, power in (await cloud.node.bus.ask(Compute, at=host.id).survey()).items():
            row = rows.get(vm)
            if row is None or row.host != host.id or row.power is not power:
                wrong.append(f"machine {vm} is {power} on {host.name}, and its row says: {row}")
            on[vm] = host.id
    for row in rows.values():
        if row.maybe_on != ((row.host,) if row.host else ()):
            wrong.append(f"machine {row.id} may be on {row.maybe_on}, and has host {row.host}")
        if row.host is not None and (on.get(row.id) != row.host or row.power is not Power.ON):
            wrong.append(f"machine {row.id} is {row.power} at {row.host}, and is at {on}")
    used = Counter(vm.host for vm in rows.values() if vm.host)
    for host in await cloud.store.find(Host):
        tally = [t for t in await cloud.store.find(Tally) if t.id == host.id]
        if (tally[0].used.get("vm", 0) if tally else 0) != used[host.id]:  # type: ignore[index]
            wrong.append(f"host {host.name} counts {tally} and has {used}")
    return wrong


async def _wrong_disks(cloud: SimCloud) -> list[str]:
    images: set[str] = set()
    held: set[tuple[str, str | None]] = set()
    for pool in await cloud.store.find(StoragePool):
        holdings = await cloud.node.bus.ask(Storage, at=pool.id).survey()
        images |= set(holdings.templates)
        held |= {(volume, pool.id) for volume in holdings.volumes}
    rows, templates = await cloud.store.find(Volume), await cloud.store.find(Template)
    ready = {(v.id, v.pool) for v in rows if v.ready}
    wrong = [f"no volume {volume} in {pool}" for volume, pool in ready - held]
    wrong += [f"volume {v} in {pool}" for v, pool in held - {(v.id, v.pool) for v in rows}]
    wrong += [f"image {id}" for id in images - {t.id for t in templates}]
    # one whose deletion failed is fetched again by whoever needs it
    jobs = await cloud.store.find(Job, state="failed")
    half_gone = {job.object_id for job in jobs if job.verb == "delete_template"}
    return wrong + [f"no image {t.id}" for t in templates
                    if t.ready and t.id not in images | half_gone]  # fmt: skip


async def _wrong_networks(cloud: SimCloud) -> list[str]:
    nics = {nic.id: nic for nic in await cloud.store.find(Nic)}
    running = {vm.id for vm in await cloud.store.find(Vm) if vm.host}
    known: set[str] = set()
    routers: set[tuple[str, str]] = set()
    for host in await cloud.store.find(Host):
        seen = await cloud.node.bus.ask(Networking, at=host.id).survey()
        routers |= {(network, host.id) for network in seen}
        known |= {nic for cards in seen.values() for nic in cards}
    rows = await cloud.store.find(Network)
    up = {(n.id, n.router) for n in rows if n.up}
    wrong = [f"router of {n} at {h} is missing" for n, h in up - routers]
    wrong += [f"router of {n} at {h}" for n, h in routers - {(n.id, n.router) for n in rows}]
    used = {nic.network for nic in nics.values() if nic.vm in running}
    wrong += [f"{n.name} is in use and half made" for n in rows if n.id in used and not n.up]
    wrong += [f"lease of nobody {nic}" for nic in known - set(nics)]
    return wrong + [f"no lease {n.id}" for n in nics.values() if n.vm in running - known
                    and n.id not in known]  # fmt: skip


async def tear_down(cloud: SimCloud) -> None:
    """Whatever users can take away goes."""
    for vm in await cloud.store.find(Vm):
        job = await cloud.settle("destroyVirtualMachine", id=vm.id, expunge="true")
        assert job["jobstatus"] == 1, job
    for kind, command in ((Network, "deleteNetwork"), (Template, "deleteTemplate")):
        for row in await cloud.store.find(kind):
            job = await cloud.settle(command, id=row.id)
            assert job["jobstatus"] == 1, job


async def gone(cloud: SimCloud) -> list[str]:
    """What is left although all was taken away."""
    left = await leftovers(cloud) + await disagreements(cloud)
    for kind in (Network, Template):
        left += [f"{kind.kind} row {row.id}" for row in await cloud.store.find(kind)]
    ranges = [r.id for r in await cloud.store.find(Range) if r.id.startswith("guest:")]
    left += [f"range {id}" for id in ranges]
    for pool in await cloud.store.find(StoragePool):
        holdings = await cloud.node.bus.ask(Storage, at=pool.id).survey()
        left += [f"aside {id}" for id in holdings.aside]
    for host in await cloud.store.find(Host):
        seen = await cloud.node.bus.ask(Networking, at=host.id).survey()
        left += [f"router {network}" for network in seen]
    return left
