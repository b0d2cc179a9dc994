"""A machine that may still run somewhere keeps what it took, until that host says that it does not.

The sweep of the hosts is off here: the orchestrator is to see to it alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.data.store import Store
from csnode.model.host import Host, Seen
from csnode.model.job import Job, JobState
from csnode.model.machine import Domain
from csnode.model.network import Nic
from csnode.model.orders import ReleaseVm
from csnode.model.stock import Taken
from csnode.model.vm import Vm
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import Injector, Mishap
from csnode.types import HostId, VmId
from roles.compute.drivers import sim
from tests.sim.conftest import World
from tests.sim.scene import anybody_writes
from tests.sim.world import a_machine, agrees, gone, machines, prepared, tear_down

NO_SWEEP: dict[str, Any] = {"sweep_seconds": 0.0}


class Cut:
    """A host that cannot be asked for a while, though its machines run on."""

    def __init__(self, cloud: SimCloud, host: str) -> None:
        self._bus = cloud.node.bus
        self._compute = next(h for h in cloud.role("compute").hosts if h.id == host)
        self._bus.retire(self._compute)

    def mend(self) -> None:
        self._bus.serve(self._compute, at=(self._compute.id,))


async def taken_by(cloud: SimCloud, vm: str) -> int:
    """How many values its cards and itself have of ranges."""
    owners = {vm, *(nic.id for nic in await cloud.store.find(Nic, vm=vm))}
    return sum(taken.owner in owners for taken in await cloud.store.find(Taken))


def test_a_failed_deploy_keeps_its_address_until_its_host_can_be_asked(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        params = await prepared(cloud)
        cuts: list[Cut] = []
        injector = Injector(Mishap.ANSWER_LOST, "power")

        async def hook(moment: str, step: Any) -> None:
            if (moment, str(step)) == ("after", "power") and not cuts:
                cuts.append(Cut(cloud, (await cloud.store.find(Vm))[0].host or ""))
            await injector.hook(moment, step)

        cloud.role("orchestrator").engine.hook = hook
        accepted = await cloud.call("deployVirtualMachine", **params)
        await asyncio.sleep(600)
        job = await cloud.store.get(Job, accepted["jobid"])
        vm = await cloud.store.get(Vm, accepted["id"])
        assert job.state is JobState.UNWINDING
        assert vm.maybe_on == (vm.host,)
        assert sim.outside(str(vm.host)).machines  # the ghost
        assert await taken_by(cloud, vm.id) == 2
        cuts[0].mend()
        assert (await cloud.wait(job.id))["jobstatus"] == 2
        assert await machines(cloud) == {}
        assert (await cloud.store.get(Vm, vm.id)).maybe_on == ()
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, compute=NO_SWEEP, orchestrator={"places_max": 1})


def test_nothing_of_a_machine_is_given_back_while_its_host_is_away(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        host = (await cloud.store.get(Vm, id)).host
        cut = Cut(cloud, str(host))
        job = await cloud.settle("destroyVirtualMachine", id=id, expunge="true")
        assert job["jobstatus"] == 2
        vm = await cloud.store.get(Vm, id)
        assert vm.maybe_on == (host,)
        assert await taken_by(cloud, id) == 2
        cut.mend()
        assert (await cloud.settle("destroyVirtualMachine", id=id, expunge="true"))[
            "jobstatus"
        ] == 1
        assert await taken_by(cloud, id) == 0
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, compute=NO_SWEEP)


async def haunt(cloud: SimCloud, id: str) -> str:
    """A domain of the machine on a host that is not its own, as a lost undo would leave it."""
    vm = await cloud.store.get(Vm, id)
    other = next(h.id for h in cloud.role("compute").hosts if h.id != vm.host)
    sim.outside(other).machines[VmId(id)] = sim.SimMachine(
        Domain(vm=VmId(id), name=vm.instance_name, title="ghost", cpus=1, cpu_mhz=1,
               memory_mib=1, disks=(), plugs=())
    )  # fmt: skip
    await may_be_on(cloud, vm, HostId(other))
    return str(other)


async def may_be_on(cloud: SimCloud, vm: Vm, host: HostId) -> None:
    orchestrator = Store(cloud.node.bus, "orchestrator")
    await orchestrator.observe(Vm, vm.id, maybe_on=(*vm.maybe_on, host))


def test_a_stop_asks_every_host_that_may_have_the_machine(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        await haunt(cloud, id)
        assert (await cloud.settle("stopVirtualMachine", id=id))["jobstatus"] == 1
        assert await machines(cloud) == {}
        assert (await cloud.store.get(Vm, id)).maybe_on == ()

    world(story, compute=NO_SWEEP)


def test_a_machine_does_not_start_while_a_ghost_of_it_may_run(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        await cloud.settle("stopVirtualMachine", id=id)
        ghost = await haunt(cloud, id)
        cut = Cut(cloud, ghost)
        assert (await cloud.settle("startVirtualMachine", id=id))["jobstatus"] == 2
        vm = await cloud.store.get(Vm, id)
        assert (vm.host, vm.maybe_on) == (None, (ghost,))
        cut.mend()
        async with asyncio.timeout(30):  # while it could not be asked, it was in Alert
            while (await cloud.store.get(Host, ghost)).seen is not Seen.UP:
                await asyncio.sleep(0.2)
        assert (await cloud.settle("startVirtualMachine", id=id))["jobstatus"] == 1
        assert await machines(cloud) == {id: "on"}
        assert await agrees(cloud)

    world(story, compute=NO_SWEEP)


def test_a_machine_lets_go_of_a_dead_host_only_once_no_live_one_may_run_it(world: World) -> None:
    """The dead host is proven off; another one, which lives, still runs a domain of it."""

    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        dead = str((await cloud.store.get(Vm, id)).host)
        ghost = await haunt(cloud, id)
        sim.outside(dead).machines.clear()
        sim.outside(ghost).hangs = True
        change = Store(cloud.node.bus, "orchestrator").change()
        change.update(Host, dead, fenced=1.0, fence_proof="a test says so")
        job = change.order(ReleaseVm(vm=VmId(id)))
        await change.commit()
        await asyncio.sleep(60)
        vm = await cloud.store.get(Vm, id)
        assert (vm.host, set(vm.maybe_on)) == (dead, {dead, ghost}), (
            "it may start nowhere meanwhile"
        )
        assert set(sim.outside(ghost).machines) == {id}
        sim.outside(ghost).hangs = False
        async with asyncio.timeout(600):
            while (await cloud.store.get(Vm, id)).host is not None:
                await asyncio.sleep(1)
        assert (await cloud.store.get(Vm, id)).maybe_on == ()
        assert await machines(cloud) == {}
        assert not (await cloud.store.get(Job, job.id)).open

    world(story, compute=NO_SWEEP)


def test_a_host_that_left_the_cloud_is_not_waited_for(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        id = await a_machine(cloud)
        with anybody_writes():  # a version before let hosts go that a row still named
            await may_be_on(cloud, await cloud.store.get(Vm, id), HostId("no-longer-here"))
        assert (await cloud.settle("destroyVirtualMachine", id=id, expunge="true"))[
            "jobstatus"
        ] == 1
        await tear_down(cloud)
        assert await gone(cloud) == []

    world(story, compute=NO_SWEEP)
