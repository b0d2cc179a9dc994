"""A fenced host is taken back: what was begun for it ends with its row, and harms no other."""

from __future__ import annotations

from csnode.drivers.hypervisor import Hypervisor
from csnode.model.host import Seen
from csnode.model.job import Job
from csnode.model.place import Cluster
from csnode.types import VmId
from tests.sim.test_host_failure import Cloud, alerts, played

SLOW = {"options": {"latency_s": 15.0}}


async def taken_back(cloud: Cloud, host: str) -> Job:
    """The job that is at work on what is left on the host."""
    found: list[Job] = []

    async def at_work() -> bool:
        jobs = await cloud.world.store.find(Job, object_id=cloud.power.host(host))
        found[:] = [job for job in jobs if job.verb == "return_host" and job.open]
        return bool(found) and (await cloud.host(host)).seen is Seen.CONNECTING

    assert await cloud.world.until(at_work, 60, 0.05)
    return found[0]


async def added_anew(cloud: Cloud, host: str) -> None:
    """An operator removes the host, and adds it again."""
    row = await cloud.host(host)
    cluster = await cloud.world.store.get(Cluster, row.cluster)
    await cloud.ask("deleteHost", id=row.id, forced="true")
    await cloud.ask(
        "addHost", url=f"http://{host}", hypervisor=row.hypervisor, zoneid=row.zone,
        podid=cluster.pod, clusterid=cluster.id,
    )  # fmt: skip
    assert await cloud.seen(host, Seen.UP)


def test_a_machine_that_comes_to_a_host_which_was_added_anew_runs_there() -> None:
    """Also if the host's csnode is started in between, and knows no order of before."""

    async def story(cloud: Cloud) -> None:
        left = await cloud.deploy(cloud.kept)
        home = await cloud.home(left)
        await cloud.power.cut(home)
        assert await cloud.runs_elsewhere(left, home)
        vm = await cloud.deploy(cloud.plain)
        await cloud.power.restore(home)
        back = await taken_back(cloud, home)
        await added_anew(cloud, home)

        sent_to = cloud.power.host(home)
        moving = await cloud.ask("migrateVirtualMachine", virtualmachineid=vm, hostid=sent_to)
        at = await cloud.home(vm)
        source = cloud.world.outside(Hypervisor, cloud.power.host(at))

        async def on_its_way() -> bool:
            return bool(source.leaving[VmId(vm)])

        async def arrived() -> bool:
            return cloud.on(vm) == [home]

        assert await cloud.world.until(on_its_way, 60, 0.05)
        await cloud.world.crash(home)
        cloud.world.pause(at)  # so that whoever moves it has nothing to ask the target meanwhile
        assert await cloud.world.until(arrived, 60, 0.05)
        cloud.world.start(home)
        assert not await cloud.ended(back.id)
        cloud.world.resume(at)
        assert await cloud.ended(moving["jobid"])
        assert cloud.on(vm) == [home]
        assert "was removed, and added anew" in (await cloud.world.store.get(Job, back.id)).fault
        assert not [text for text in await alerts(cloud) if "is back" in text]
        await cloud.at_peace()

    played(story, compute=SLOW)
