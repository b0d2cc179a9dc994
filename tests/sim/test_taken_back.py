"""A fenced host that an operator removes and adds again is empty before it is used."""

from __future__ import annotations

import pytest

from csnode.drivers.hypervisor import Hypervisor
from csnode.model.host import Host, Seen
from csnode.types import VmId
from tests.sim.test_host_failure import Cloud, alerts, played

SLOW = {"options": {"latency_s": 15.0}}


async def add(cloud: Cloud, row: Host) -> None:
    """As an operator does who tries until the host's csnode is heard."""
    wanted = {
        "url": f"http://{row.name}", "hypervisor": row.hypervisor, "zoneid": row.zone,
        "podid": row.pod, "clusterid": row.cluster,
    }  # fmt: skip

    async def added() -> bool:
        return (await cloud.world.ask("api-1", "addHost", wanted))[0] == 200

    assert await cloud.world.until(added, 60, 0.5)


@pytest.mark.parametrize("when", ["while it is off", "while it is taken back"])
def test_a_host_that_is_removed_and_added_again_is_empty_before_anything_comes(when: str) -> None:
    async def story(cloud: Cloud) -> None:
        left = await cloud.deploy(cloud.kept)
        home = await cloud.home(left)
        await cloud.power.cut(home)
        assert await cloud.runs_elsewhere(left, home)
        vm = await cloud.deploy(cloud.plain)
        row = await cloud.host(home)
        if when == "while it is taken back":
            await cloud.power.restore(home)
            assert await cloud.seen(home, Seen.CONNECTING)
        await cloud.ask("deleteHost", id=row.id, forced="true")
        if when == "while it is off":
            await cloud.power.restore(home)
        await add(cloud, row)
        early = {"virtualmachineid": vm, "hostid": row.id}
        moving = await cloud.ask("migrateVirtualMachine", **early)
        assert not await cloud.ended(moving["jobid"])
        await cloud.world.crash(home)  # it forgets which orders are newer than others
        cloud.world.start(home)

        assert await cloud.seen(home, Seen.UP, 120)
        outside = cloud.world.outside(Hypervisor, row.id)
        assert VmId(left) not in outside.machines
        assert [text for text in await alerts(cloud) if f"Host {home} is back: 1 machine" in text]
        moving = await cloud.ask("migrateVirtualMachine", **early)
        assert await cloud.ended(moving["jobid"])
        assert cloud.on(vm) == [home]
        await cloud.at_peace()

    played(story, compute=SLOW)
