"""Every saga, every step, every mishap: a machine is whole or gone, and nothing is stuck."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.saga.saga import Saga
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap, every_step, has_undo
from roles.orchestrator.sagas.deploy_vm import Deploy
from roles.orchestrator.sagas.destroy_vm import Destroy
from roles.orchestrator.sagas.expunge_vm import Expunge
from roles.orchestrator.sagas.reboot_vm import Reboot
from roles.orchestrator.sagas.start_vm import Start
from roles.orchestrator.sagas.stop_vm import Stop
from tests.sim.conftest import World
from tests.sim.world import a_machine, first, leases, leftovers, machines, prepared, volumes

RECOVERABLE = {Mishap.SILENT_ONCE, Mishap.CRASH_BEFORE, Mishap.CRASH_AFTER}
COMMANDS: dict[type[Saga[Any]], tuple[str, dict[str, str]]] = {
    Start: ("startVirtualMachine", {}),
    Stop: ("stopVirtualMachine", {}),
    Reboot: ("rebootVirtualMachine", {}),
    Destroy: ("destroyVirtualMachine", {"expunge": "true"}),
    Expunge: ("expungeVirtualMachine", {}),
}
MATRIX = [
    pytest.param(saga, step, mishap, id=f"{saga.__name__}-{step}-{mishap.name}")
    for saga in COMMANDS
    for step in every_step(saga)
    for mishap in Mishap
]


@pytest.mark.parametrize("step", every_step(Deploy))
@pytest.mark.parametrize("mishap", Mishap)
def test_a_deployed_machine_is_whole_or_gone(world: World, step: str, mishap: Mishap) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        injector = Injector(mishap, step)
        injector.into(cloud.role("orchestrator").engine)
        job = await cloud.settle("deployVirtualMachine", **params)
        assert injector.struck
        assert injector.done or not has_undo(Deploy, step)
        if mishap in RECOVERABLE:
            assert job["jobstatus"] == 1, job
        if job["jobstatus"] == 1:
            assert list((await machines(cloud)).values()) == ["on"]
        else:
            assert await machines(cloud) == {}
            assert await volumes(cloud) == []
            assert await leases(cloud) == []
            assert (await first(cloud, "listVirtualMachines"))["state"] == "Error"
            assert job["jobresult"]["errortext"]
        assert await cloud.store.find(Lock) == []
        id = (await cloud.store.find(Vm))[0].id
        await cloud.settle("destroyVirtualMachine", id=id, expunge="true")
        assert await leftovers(cloud) == []

    world(story)


@pytest.mark.parametrize(("saga", "step", "mishap"), MATRIX)
def test_a_machine_stays_whole_and_its_job_ends(
    world: World,
    saga: type[Saga[Any]],
    step: str,
    mishap: Mishap,
) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        if saga is Start:
            await cloud.settle("stopVirtualMachine", id=id)
        if saga is Expunge:
            await cloud.settle("destroyVirtualMachine", id=id)
        injector = Injector(mishap, step)
        injector.into(cloud.role("orchestrator").engine)
        command, more = COMMANDS[saga]
        job = await cloud.settle(command, id=id, **more)
        assert injector.struck
        assert injector.done or not has_undo(saga, step)
        if mishap in RECOVERABLE:
            assert job["jobstatus"] == 1, job
        assert await cloud.store.find(Lock) == []
        if not await cloud.store.find(Vm):
            assert await leftovers(cloud) == []
            return
        await asyncio.sleep(120)  # the sweep settles what a job that failed left behind
        vm = await cloud.store.get(Vm, id)
        really = (await machines(cloud)).get(id, "absent")
        shown = (await first(cloud, "listVirtualMachines", id=id))["state"]
        assert (shown == "Running") == (really == "on"), (shown, really)
        assert (vm.host is not None) == (really == "on")
        await cloud.settle("destroyVirtualMachine", id=id, expunge="true")
        assert await leftovers(cloud) == []

    world(story)
