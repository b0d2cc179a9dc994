"""What a monitor measures and when, that one of several acts, and that it lets go as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from csnode.bus.local import LocalBus
from csnode.clock import now
from csnode.config import NodeConfig
from csnode.contracts.compute import Compute
from csnode.contracts.storage import Storage
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Member, Serving
from csnode.faults import Unavailable
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.machine import HostFacts, PoolFacts
from csnode.model.place import Cluster, Pod, Zone
from csnode.testing.loop import simulate
from csnode.types import ClusterId, NodeId, PodId, PoolId, ZoneId
from roles.data.config import DataConfig
from roles.monitor.config import MonitorConfig
from roles.monitor.role import MonitorRole
from tests.contract.data_writer import playing

PLACE: dict[str, Any] = {"zone": ZoneId("z"), "pod": PodId("p"), "cluster": ClusterId("c")}
CONFIG = MonitorConfig(prober="sim")
LEASE_S, EACH_S = CONFIG.lease_seconds, CONFIG.capacity_seconds


class Component:
    """Something that says what it has, or does not."""

    def __init__(self, name: str) -> None:
        self.name, self.size, self.asked = name, 4, list[float]()
        self.away = False
        self.then: Callable[[], Awaitable[None]] | None = None

    async def _asked(self) -> None:
        self.asked.append(now())
        if self.then is not None:
            await self.then()
        if self.away:
            raise Unavailable("nobody answers")


class Hypervisor(Component, Compute):  # type: ignore[misc]
    """One host's."""

    async def describe(self) -> HostFacts:
        await self._asked()
        return HostFacts(
            name=self.name, address="", hypervisor="KVM", cpus=self.size, cpu_mhz=2000,
            memory_mib=1024 * self.size, version="v",
        )  # fmt: skip


class Pool(Component, Storage):  # type: ignore[misc]
    """One pool's."""

    async def describe(self) -> PoolFacts:
        await self._asked()
        return PoolFacts(
            pool=PoolId(self.name), name=self.name, type="Filesystem", path="/", address="",
            total_bytes=100 * self.size, used_bytes=self.size,
        )  # fmt: skip


HYPERVISOR: Any = Hypervisor  # they answer the one call that a monitor makes, and no other
POOL: Any = Pool


class Scene:
    """Two hosts and a pool; monitors are played as the test says."""

    def __init__(self, bus: LocalBus, opened: AsyncExitStack) -> None:
        self.bus, self.opened = bus, opened
        self.store = Store(bus, "api")
        self.hosts: dict[str, Hypervisor] = {name: HYPERVISOR(name) for name in ("a", "b")}
        self.pool: Pool = POOL("pool")
        for name, host in self.hosts.items():
            bus.serve(host, at=(name,))
            self.hear(name)
        bus.serve(self.pool, at=("pool",))

    def hear(self, name: str) -> None:
        """The host speaks."""
        self.bus.directory.announce(
            Member(
                node=NodeId(f"{name}/x"), cluster="c", incarnation=1, number=1, host=name,
                roles=(), serves=(Serving(contract="Compute", at=(name,)),), calls="", events="",
            )
        )  # fmt: skip

    async def monitor(self, node: str = "m1") -> MonitorRole:
        """A monitor, and its turns."""
        role = MonitorRole(CONFIG, NodeConfig(), self.bus, Store(self.bus, "monitor", node))
        await self.opened.enter_async_context(asynccontextmanager(role.opened)())
        return role

    async def acting(self, role: MonitorRole) -> None:
        """Wait until the monitor has the lease, and has seen both hosts."""
        while not role._acting or {(await self.host(id)).seen for id in "ab"} != {Seen.UP}:
            await asyncio.sleep(0.5)

    async def host(self, id: str = "a") -> Host:
        return await self.store.get(Host, id)

    async def row(self) -> StoragePool:
        return await self.store.get(StoragePool, "pool")


def told(story: Callable[[Scene], Awaitable[None]]) -> None:
    """The story, in virtual time."""

    async def whole() -> None:
        bus = LocalBus(AloneDirectory())
        async with (
            playing(bus, DataConfig(path=":memory:", inline=True)),
            AsyncExitStack() as opened,
        ):
            scene = Scene(bus, opened)
            change = scene.store.acting_as("fabric").change()
            change.create(Zone(id="z", name="z"))
            change.create(Pod(id="p", name="p", zone=ZoneId("z")))
            change.create(Cluster(id="c", name="c", zone=ZoneId("z"), pod=PodId("p")))
            for name in scene.hosts:
                change.create(Host(id=name, name=name, **PLACE))
            change.create(StoragePool(id="pool", name="pool", zone=ZoneId("z")))
            await change.commit()
            await story(scene)

    simulate(whole())


async def writes(scene: Scene, kind: type[Any], id: str, by: str = "api", **columns: Any) -> None:
    change = scene.store.acting_as(by).change()
    change.update(kind, id, **columns)
    await change.commit()
    await asyncio.sleep(1)


def test_hosts_and_pools_are_measured_once_a_minute_and_their_rows_say_what_they_have() -> None:
    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)
        await monitor.measure()
        for name in scene.hosts:
            host = await scene.host(name)
            assert (host.cpus, host.cpu_mhz, host.memory_mib) == (4, 2000, 4096)
            assert host.version == "v"
        pool = await scene.row()
        assert (pool.up, pool.total_bytes, pool.used_bytes) == (True, 400, 4)
        before = {name: len(each.asked) for name, each in scene.hosts.items()}
        await asyncio.sleep(EACH_S - 1)
        await monitor.measure()
        assert {name: len(each.asked) for name, each in scene.hosts.items()} == before
        assert len(scene.pool.asked) == 1
        scene.hosts["b"].size = scene.pool.size = 8
        await asyncio.sleep(1)
        await monitor.measure()
        assert (await scene.host("b")).cpus == 8
        assert (await scene.row()).total_bytes == 800

    told(story)


def test_a_pool_that_does_not_answer_is_not_up_until_it_does_and_keeps_its_size() -> None:
    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)
        for away in (False, True, False):
            scene.pool.away = away
            await monitor.measure()
            pool = await scene.row()
            assert (pool.up, pool.total_bytes) == (not away, 400)
            await asyncio.sleep(EACH_S)

    told(story)


def test_a_host_that_does_not_say_what_it_has_keeps_what_it_said() -> None:
    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)
        scene.hosts["a"].away = True
        await asyncio.sleep(EACH_S)
        await monitor.measure()
        host = await scene.host()
        assert (host.cpus, host.seen) == (4, Seen.UP)

    told(story)


def test_a_host_is_not_asked_what_it_has_before_it_is_up() -> None:
    async def story(scene: Scene) -> None:
        scene.hosts["c"] = HYPERVISOR("c")
        scene.bus.serve(scene.hosts["c"], at=("c",))
        monitor = await scene.monitor()
        await scene.acting(monitor)
        change = scene.store.acting_as("fabric").change()
        change.create(Host(id="c", name="c", **PLACE))
        await change.commit()
        for _ in range(3):
            await asyncio.sleep(EACH_S)
            await monitor.measure()
        assert scene.hosts["c"].asked == []
        scene.hear("c")
        await asyncio.sleep(1)
        host = await scene.host("c")
        assert (host.seen, host.cpus) == (Seen.UP, 4)

    told(story)


def test_a_host_that_an_operator_asks_to_be_looked_at_is_measured_at_the_next_turn() -> None:
    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)
        await monitor.measure()
        scene.hosts["a"].size = scene.hosts["b"].size = 16
        await writes(scene, Host, "a", reconnect=7.0)
        await monitor.measure()
        assert [(await scene.host(name)).cpus for name in "ab"] == [16, 4]

    told(story)


def test_a_host_that_is_enrolled_or_taken_back_is_judged_at_once() -> None:
    """Nobody waits for the next look: a machine may wait for the host."""

    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)
        judged: list[float] = []
        judge = monitor.watch.judge

        async def rarely(up: Any) -> None:
            judged.append(now())
            await judge(up)
            monitor.watch.next_s = 3600.0

        monitor.watch.judge = rarely  # type: ignore[method-assign]
        await asyncio.sleep(2)
        judged.clear()
        change = scene.store.acting_as("fabric").change()
        change.create(Host(id="n", name="n", **PLACE))
        await change.commit()
        await asyncio.sleep(1)
        assert judged
        judged.clear()
        await writes(scene, Host, "a", by="orchestrator", fenced=5.0)
        assert judged
        judged.clear()
        await writes(scene, Host, "a", tags=("x",))
        assert judged == []

    told(story)


def test_a_pool_that_left_and_came_again_is_measured_at_the_next_turn() -> None:
    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)

        async def leaves() -> None:
            change = scene.store.acting_as("fabric").change()
            change.delete(StoragePool, "pool")
            await change.commit()

        scene.pool.then = leaves
        await monitor.measure()
        assert await scene.store.find(StoragePool) == []
        scene.pool.then = None
        change = scene.store.acting_as("fabric").change()
        change.create(StoragePool(id="pool", name="pool", zone=ZoneId("z")))
        await change.commit()
        await asyncio.sleep(1)
        await monitor.measure()
        assert (await scene.row()).total_bytes == 400

    told(story)


def test_of_several_monitors_one_acts_and_when_it_ends_another() -> None:
    async def story(scene: Scene) -> None:
        async with AsyncExitStack() as first_opened:
            scene.opened, kept = first_opened, scene.opened
            first = await scene.monitor("m1")
            await scene.acting(first)
            scene.opened = kept
            second = await scene.monitor("m2")
            await asyncio.sleep(3 * LEASE_S)
            assert (first._acting, second._acting) == (True, False)
            await second.measure()
            assert scene.pool.asked == []
            await first.measure()
            assert len(scene.pool.asked) == 1
        assert not first._acting
        await asyncio.sleep(LEASE_S)
        assert second._acting
        await second.measure()
        assert len(scene.pool.asked) == 2

    told(story)


@pytest.mark.parametrize("seconds", [LEASE_S, 3 * LEASE_S])
def test_a_monitor_that_lost_its_lease_acts_no_more_until_it_has_it_again(seconds: float) -> None:
    """What it judges meanwhile could be another's word against that of who has the lease."""

    async def story(scene: Scene) -> None:
        monitor = await scene.monitor()
        await scene.acting(monitor)
        data: Any = monitor.store.leases
        hold = data._data.commit

        async def away(*_: Any) -> Any:
            raise Unavailable("nobody answers")

        data._data.commit = away
        await asyncio.sleep(seconds)
        assert not monitor._acting
        looks: list[float] = []
        judge = monitor.watch.judge

        async def looked(up: Any) -> None:
            looks.append(now())
            await judge(up)

        monitor.watch.judge = looked  # type: ignore[method-assign]
        await asyncio.sleep(LEASE_S)
        assert looks == []
        data._data.commit = hold
        await asyncio.sleep(2 * LEASE_S)
        assert monitor._acting
        assert looks

    told(story)
