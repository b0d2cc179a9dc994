"""The sagas of templates and networks under every mishap: whole or gone, and nothing is stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.offering import NetworkOffering
from csnode.model.stock import Lock, Range
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap, every_step
from roles.orchestrator.sagas.delete_template import Delete
from roles.orchestrator.sagas.fetch_template import Fetch
from roles.orchestrator.sagas.implement_network import Implement
from roles.orchestrator.sagas.shutdown_network import Shutdown
from tests.sim.conftest import World
from tests.sim.test_mishaps import RECOVERABLE
from tests.sim.world import URL, a_machine, first, prepared

Outcome = bool  # whether what was ordered came about


async def jobs_ended(cloud: SimCloud) -> None:
    async with asyncio.timeout(600):
        while any(job.open for job in await cloud.store.find(Job)):
            await asyncio.sleep(0.5)


async def images(cloud: SimCloud) -> list[str]:
    pools = await cloud.store.find(StoragePool)
    held = [await cloud.node.bus.ask(Storage, at=pool.id).survey() for pool in pools]
    return [template for holdings in held for template in holdings.templates]


async def routers(cloud: SimCloud) -> list[str]:
    hosts = await cloud.store.find(Host)
    return [n for h in hosts for n in await cloud.node.bus.ask(Networking, at=h.id).survey()]


def aim(cloud: SimCloud, injector: Injector) -> None:
    injector.into(cloud.role("orchestrator").engine)


async def fetch(cloud: SimCloud, injector: Injector) -> Outcome:
    zone = (await first(cloud, "listZones"))["id"]
    aim(cloud, injector)
    made = await cloud.call(
        "registerTemplate", name="tiny", displaytext="tiny", url=URL, format="QCOW2",
        hypervisor="KVM", zoneid=zone, ostypeid=(await first(cloud, "listOsTypes"))["id"],
    )  # fmt: skip
    await jobs_ended(cloud)
    id = made["template"][0]["id"]
    shown = await first(cloud, "listTemplates", templatefilter="all", id=id)
    assert await images(cloud) == ([id] if shown["isready"] else [])
    assert shown["isready"] or shown["status"]
    assert (await cloud.settle("deleteTemplate", id=id))["jobstatus"] == 1
    assert await images(cloud) == []
    return bool(shown["isready"])


async def delete(cloud: SimCloud, injector: Injector) -> Outcome:
    id = (await prepared(cloud))["templateid"]
    aim(cloud, injector)
    job = await cloud.settle("deleteTemplate", id=id)
    if job["jobstatus"] == 2:  # it can be asked for again
        assert (await cloud.settle("deleteTemplate", id=id))["jobstatus"] == 1
    assert await images(cloud) == []
    assert await cloud.call("listTemplates", templatefilter="all") == {}
    return bool(job["jobstatus"] == 1)


async def implement(cloud: SimCloud, injector: Injector) -> Outcome:
    change = cloud.store.change()
    change.create(NetworkOffering(id="11111111-1111-4111-8111-111111111111", name="kept",
                                  services=("Dhcp", "SourceNat"), persistent=True))  # fmt: skip
    await change.commit()
    zone = (await first(cloud, "listZones"))["id"]
    aim(cloud, injector)
    made = await cloud.call(
        "createNetwork", name="n", displaytext="n", zoneid=zone,
        networkofferingid="11111111-1111-4111-8111-111111111111",
    )  # fmt: skip
    await jobs_ended(cloud)
    id = made["network"]["id"]
    stands = (await first(cloud, "listNetworks", id=id))["state"] == "Implemented"
    if stands:
        assert await routers(cloud) == [id]
    assert (await cloud.settle("deleteNetwork", id=id))["jobstatus"] == 1
    assert await routers(cloud) == []
    return stands


async def shutdown(cloud: SimCloud, injector: Injector) -> Outcome:
    machine = await a_machine(cloud)
    await cloud.settle("destroyVirtualMachine", id=machine, expunge="true")
    id = (await first(cloud, "listNetworks"))["id"]
    aim(cloud, injector)
    job = await cloud.settle("deleteNetwork", id=id)
    if job["jobstatus"] == 2:
        assert (await cloud.settle("deleteNetwork", id=id))["jobstatus"] == 1
    assert await routers(cloud) == []
    assert await cloud.call("listNetworks") == {}
    assert not [r for r in await cloud.store.find(Range) if r.id == f"guest:{id}"]
    return bool(job["jobstatus"] == 1)


STORIES: dict[Any, Callable[[SimCloud, Injector], Awaitable[Outcome]]] = {
    Fetch: fetch,
    Delete: delete,
    Implement: implement,
    Shutdown: shutdown,
}


@pytest.mark.parametrize(
    ("saga", "step", "mishap"),
    [
        pytest.param(saga, step, mishap, id=f"{saga.__name__}-{step}-{mishap.name}")
        for saga in STORIES
        for step in every_step(saga)
        for mishap in Mishap
    ],
)
def test_it_is_whole_or_gone_and_its_job_ends(
    world: World, saga: Any, step: str, mishap: Mishap
) -> None:
    async def story(cloud: SimCloud) -> None:
        injector = Injector(mishap, step)
        done = await STORIES[saga](cloud, injector)
        assert injector.struck
        assert done or mishap not in RECOVERABLE
        assert await cloud.store.find(Lock) == []

    world(story)
