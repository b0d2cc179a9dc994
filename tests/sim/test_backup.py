"""An older database is put back while the hosts run on: the cloud takes them back by itself."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.cloud import MEET_S
from csnode.context import acting, era_of
from csnode.contracts.compute import Compute
from csnode.data.view import View
from csnode.faults import Outdated
from csnode.model.job import Job
from csnode.model.vm import Vm
from csnode.testing.world import World
from csnode.types import Power, VmId
from csnode.verify.judge import verify
from tests.sim.test_world import goods, played

HOSTS = ("host-1", "host-2")


async def done(world: World, command: str, **params: str) -> dict[str, Any]:
    """The accepted call, once its job has ended well."""
    status, accepted = await world.ask(world.apis()[0], command, params)
    assert status == 200, accepted

    async def ended() -> bool:
        return not (await world.store.get(Job, accepted["jobid"])).open

    assert await world.until(ended, 120), f"{command} does not end"
    job = await world.store.get(Job, accepted["jobid"])
    assert not job.fault, f"{command}: {job.fault}"
    return accepted


async def put_back(world: World, image: bytes, *stay: str) -> None:
    """Everything ends but the hosts and who is to stay; it starts again on the older database.

    Some time after it was copied: a copy that is younger than a look at the data service is not
    told from a crash.
    """
    await asyncio.sleep(2 * MEET_S)
    others = [name for name in world.processes if name not in (*HOSTS, *stay)]
    for name in others:
        await world.crash(name)
    world.disk.connection.close()
    world.disk.connection, world.disk.image = None, image
    for name in others:
        world.start(name)
    await world.whole()


def backup(world: World) -> bytes:
    image: bytes = world.disk.connection.serialize()
    return image


def test_hosts_obey_a_cloud_whose_older_database_was_put_back() -> None:
    async def story(world: World) -> None:
        params = await goods(world)
        one = str((await done(world, "deployVirtualMachine", **params))["id"])
        two = str((await done(world, "deployVirtualMachine", **params))["id"])
        image = backup(world)
        for _ in range(5):  # what the database forgets, the hosts do not
            await done(world, "stopVirtualMachine", id=one)
            await done(world, "startVirtualMachine", id=one)
        await done(world, "stopVirtualMachine", id=two)
        await put_back(world, image)
        await asyncio.sleep(60)
        await done(world, "stopVirtualMachine", id=one)
        await done(world, "startVirtualMachine", id=one)
        await done(world, "rebootVirtualMachine", id=one)
        assert (await world.store.get(Vm, one)).power is Power.ON
        await done(world, "destroyVirtualMachine", id=two, expunge="true")
        await done(world, "deployVirtualMachine", **params)
        assert era_of(await world.store.data.head(("job",))) == 1
        await asyncio.sleep(300)
        verdict = await verify(world.bus, world.store)
        assert verdict.findings == ()

    played(story)


def test_an_order_from_before_the_backup_was_put_back_is_refused() -> None:
    async def story(world: World) -> None:
        id = str((await done(world, "deployVirtualMachine", **await goods(world)))["id"])
        image = backup(world)
        await done(world, "stopVirtualMachine", id=id)
        fence = await world.store.data.head(("job", "lock"))
        await put_back(world, image)
        await asyncio.sleep(60)
        vm = await world.store.get(Vm, id)
        orchestrator = world.role("orc-1", "orchestrator")
        compute = orchestrator.bus.ask(Compute, at=str(vm.last_host or vm.host))
        refused = 0
        with acting(fence=fence):
            try:
                await compute.ensure_off(VmId(id), False)
            except Outdated:
                refused += 1
            change = orchestrator.store.change()
            change.update(Vm, id, revision=vm.revision, host=None)
            try:
                await change.commit()
            except Outdated:
                refused += 1
        assert refused == 2

    played(story)


def test_a_view_that_ran_on_shows_the_older_database_and_follows_it() -> None:
    async def story(world: World) -> None:
        params = await goods(world)
        one = str((await done(world, "deployVirtualMachine", **params))["id"])
        image = backup(world)
        later = str((await done(world, "deployVirtualMachine", **params))["id"])
        watch = world.processes["watch"].node
        assert watch is not None
        store = watch.roles["monitor"].store
        view = View(store, (Vm,))
        await view.open()
        assert view.maybe(Vm, later) is not None
        await put_back(world, image, "watch")
        await asyncio.sleep(60)
        await view.fresh()
        assert view.maybe(Vm, later) is None
        await done(world, "stopVirtualMachine", id=one)
        await view.fresh()
        assert view.get(Vm, one).power is not Power.ON
        view.close()

    played(story)
