"""The compute role on simulated hosts: what it reports, whom it obeys, what it survives."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from csnode import log
from csnode.bus.local import LocalBus
from csnode.config import Config, NodeConfig
from csnode.context import acting
from csnode.contracts.compute import Compute
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.drivers.driver import Seat
from csnode.drivers.hypervisor import Hypervisor, Sighting
from csnode.faults import Invalid, Refused, Unavailable
from csnode.model.host import Host
from csnode.model.machine import Domain
from csnode.model.vm import Vm
from csnode.sweep import Strangers
from csnode.testing.data_cloud import host as host_row
from csnode.testing.data_cloud import vm as row
from csnode.testing.hypervisor import ONE, TWO, WITHIN_S
from csnode.testing.patience import patient
from csnode.types import HostId, Power, VmId
from roles.compute.config import ComputeConfig
from roles.compute.drivers import sim
from roles.compute.drivers.libvirt import LibvirtHypervisor
from roles.compute.drivers.sim import SimHypervisor
from roles.compute.host import HostCompute
from roles.compute.role import ComputeRole
from roles.data.config import DataConfig
from roles.data.role import DataRole

NODE = NodeConfig(cluster="test", host="h", state="/nowhere")
HOST = NODE.host_id


@pytest.fixture(autouse=True)
def _new_hardware() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    sim.forget_all()
    yield
    sim.forget_all()


@pytest.fixture
async def bus() -> AsyncGenerator[LocalBus]:
    """A bus on which the data service is there."""
    bus = LocalBus(AloneDirectory())
    config = DataConfig(path=":memory:", inline=True)
    async with asynccontextmanager(DataRole(config, NODE, bus, Store(bus, "data")).opened)():
        yield bus


@asynccontextmanager
async def playing(bus: LocalBus, hosts: int = 1, **options: Any) -> AsyncGenerator[ComputeRole]:
    config = ComputeConfig(driver="sim", options=options, hosts=hosts)
    role = ComputeRole(config, NODE, bus, Store(bus, "compute"))
    async with asynccontextmanager(role.opened)():
        yield role


async def enrolled(bus: LocalBus, vm: VmId, host: HostId | None = HOST) -> None:
    """The row of a machine that the orchestrator has placed at the host."""
    store = Store(bus, "orchestrator")
    change = store.change()
    change.create(row(vm, name="m"))
    await change.commit()
    await known(bus, host)
    await Store(bus, "orchestrator").observe(Vm, vm, host=host)


async def known(bus: LocalBus, host: HostId | None) -> None:
    """The host's row, which a machine's may name."""
    store = Store(bus, "orchestrator")
    if host is not None and host not in {row.id for row in await store.find(Host)}:
        change = store.change()
        change.create(host_row(host))
        await change.commit()


async def power(bus: LocalBus, vm: VmId = ONE.vm) -> Power:
    return (await Store(bus).get(Vm, vm)).power


async def becomes(bus: LocalBus, wanted: Power) -> None:
    """Wait until the row says so, with no look taken by us."""
    async with asyncio.timeout(patient(WITHIN_S)):
        while await power(bus) is not wanted:
            await asyncio.sleep(0.01)


async def test_each_verb_reports_the_power_it_left(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus):
        compute = bus.ask(Compute, at=HOST)
        assert await compute.ensure_running(ONE) is Power.ON
        assert await power(bus) is Power.ON
        assert await compute.reboot(ONE.vm, False) is Power.ON
        assert await compute.ensure_off(ONE.vm, False) is Power.OFF
        assert await power(bus) is Power.OFF
        await compute.ensure_absent(ONE.vm)
        assert await power(bus) is Power.ABSENT
        assert await compute.survey() == {}


async def test_a_guest_that_halts_by_itself_is_reported_at_once(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus):
        await bus.ask(Compute, at=HOST).ensure_running(ONE)
        sim.outside(HOST).halt(ONE.vm)
        await becomes(bus, Power.OFF)


async def test_what_no_event_told_is_found_by_looking(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus) as role:
        await bus.ask(Compute, at=HOST).ensure_running(ONE)
        sim.outside(HOST).lose_power()
        await role.sweep()
        assert await power(bus) is Power.OFF
        sim.outside(HOST).machines.clear()
        await role.sweep()
        assert await power(bus) is Power.ABSENT


async def test_a_restarted_role_finds_its_machines_running(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus):
        await bus.ask(Compute, at=HOST).ensure_running(ONE)
    with pytest.raises(Unavailable):
        await bus.ask(Compute, at=HOST).survey()
    async with playing(bus) as role:
        await role.sweep()
        assert await power(bus) is Power.ON
        sim.outside(HOST).halt(ONE.vm)
        await becomes(bus, Power.OFF)


async def test_a_sighting_that_is_old_by_now_changes_nothing(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus) as role:
        await bus.ask(Compute, at=HOST).ensure_running(ONE)
        before = (await Store(bus).get(Vm, ONE.vm)).revision
        for listener in sim.outside(HOST).listeners:
            listener(Sighting(vm=ONE.vm, power=Power.OFF))
        await asyncio.sleep(0)  # the role hears of it
        await role.drain()
        row = await Store(bus).get(Vm, ONE.vm)
        assert (row.power, row.revision) == (Power.ON, before)


async def test_what_is_unchanged_is_not_written_again(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus) as role:
        await bus.ask(Compute, at=HOST).ensure_running(ONE)
        before = (await Store(bus).get(Vm, ONE.vm)).revision
        await role.sweep()
        await bus.ask(Compute, at=HOST).ensure_running(ONE)
        await role.drain()
        assert (await Store(bus).get(Vm, ONE.vm)).revision == before


async def test_an_order_from_before_is_refused_and_does_nothing(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus):
        compute = bus.ask(Compute, at=HOST)
        with acting(fence=5):
            await compute.ensure_running(ONE)
            await compute.ensure_absent(ONE.vm)
        with acting(fence=4), pytest.raises(Refused, match="out of date"):
            await compute.ensure_running(ONE)
        assert await compute.survey() == {}
        with acting(fence=4):
            await compute.ensure_running(TWO)  # its fence is its own


async def test_a_ghost_whose_row_says_by_now_that_it_belongs_here_stays(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus, hosts=2) as role:
        here, there = role.hosts
        here._ghosts = Strangers("machines", "here", 0)
        there._ghosts = Strangers("machines", "there", 0)
        await here.ensure_running(ONE)
        sim.outside(there.id).start(ONE)
        for host in (here, there):  # as if no row had been seen that says so
            await host.expel(await host.survey(), [])
        assert await here.survey() == {ONE.vm: Power.ON}
        assert await there.survey() == {}


async def test_one_trace_leads_to_what_was_done_to_the_domain(
    bus: LocalBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    try:
        log.start("info", "json", written)
        async with playing(bus, fail=1.0, fail_verbs=["reboot"]):
            compute = bus.ask(Compute, at=HOST)
            with acting(trace="ab" * 16):
                await compute.ensure_running(ONE)
                with pytest.raises(Unavailable):
                    await compute.reboot(ONE.vm, True)
            with acting(trace="cd" * 16):
                await compute.ensure_off(ONE.vm, True)
                await compute.ensure_absent(ONE.vm)
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    done = [line for line in lines if line.get("vm") == ONE.vm]
    assert {line["host"] for line in done} == {HOST}
    assert [(line["trace_id"][:2], line["event"]) for line in done] == [
        ("ab", "domain started"),
        ("ab", "domain not rebooted"),
        ("cd", "domain ended"),
        ("cd", "domain removed"),
    ]


class SlowToStart(SimHypervisor):
    async def ensure_running(self, domain: Domain) -> Power:
        await asyncio.sleep(0.05)
        return await super().ensure_running(domain)


async def test_verbs_on_one_machine_wait_for_each_other(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    seat = Seat(id=HOST, name="h", address="", folder="")
    async with SlowToStart({}, seat) as hypervisor:
        host = HostCompute(HOST, hypervisor, Store(bus, "compute"))
        await asyncio.gather(
            host.ensure_running(ONE), host.ensure_absent(ONE.vm), host.ensure_running(TWO)
        )
        assert await host.survey() == {TWO.vm: Power.ON}
        assert await power(bus) is Power.ABSENT


async def test_a_verb_is_finished_though_its_caller_stopped_waiting(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus, latency_s=0.05) as role:
        compute = bus.ask(Compute, at=HOST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await compute.ensure_running(ONE)
        await role.drain()
        assert await compute.survey() == {ONE.vm: Power.ON}
        assert await power(bus) is Power.ON


async def test_a_machine_that_runs_elsewhere_is_not_reported_from_here(bus: LocalBus) -> None:
    await enrolled(bus, ONE.vm)
    async with playing(bus, hosts=2) as role:
        here, there = (host.id for host in role.hosts)
        await bus.ask(Compute, at=here).ensure_running(ONE)
        await known(bus, there)
        await Store(bus, "orchestrator").observe(Vm, ONE.vm, host=there)
        await bus.ask(Compute, at=there).ensure_running(ONE)
        before = (await Store(bus).get(Vm, ONE.vm)).revision
        await bus.ask(Compute, at=here).ensure_absent(ONE.vm)
        sim.outside(here).start(ONE)
        sim.outside(here).halt(ONE.vm)
        await asyncio.sleep(0)  # the role hears of it
        await role.drain()
        assert (await Store(bus).get(Vm, ONE.vm)).revision == before
        assert await power(bus) is Power.ON


async def test_a_machine_whose_row_is_gone_may_still_be_removed(bus: LocalBus) -> None:
    async with playing(bus):
        compute = bus.ask(Compute, at=HOST)
        assert await compute.ensure_running(ONE) is Power.ON
        await compute.ensure_absent(ONE.vm)
        assert await compute.survey() == {}


async def test_one_role_plays_many_hosts(bus: LocalBus) -> None:
    async with playing(bus, hosts=450) as role:
        assert len({host.id for host in role.hosts}) == 450
        last = role.hosts[-1].id
        await enrolled(bus, ONE.vm, last)
        await bus.ask(Compute, at=last).ensure_running(ONE)
        assert (await bus.ask(Compute, at=last).describe()).name == "h-0450"
        assert await bus.ask(Compute, at=role.hosts[0].id).survey() == {}
        sim.outside(last).lose_power()
        await role.sweep()
        assert await power(bus) is Power.OFF


@pytest.mark.real
async def test_a_dead_hypervisor_is_the_roles_trouble(bus: LocalBus, tmp_path: Path) -> None:
    config = ComputeConfig(options={"uri": f"qemu+unix:///system?socket={tmp_path}/none"})
    role = ComputeRole(config, replace(NODE, state=str(tmp_path)), bus, Store(bus, "compute"))
    async with asynccontextmanager(role.opened)():
        await role.sweep()
        assert ["libvirtd on h does not answer" in line for line in role.troubles()] == [True]
        with pytest.raises(Unavailable, match="libvirtd on h does not answer"):
            await bus.ask(Compute, at=HOST).ensure_running(ONE)


async def test_a_failing_verb_alone_is_no_trouble(bus: LocalBus) -> None:
    async with playing(bus, fail=1.0) as role:
        with pytest.raises(Unavailable):
            await bus.ask(Compute, at=HOST).ensure_running(ONE)
        await role.recover()
        assert role.troubles() == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"hosts": 2}, "hosts"),
        ({"driver": "sim", "hosts": 0}, "hosts"),
        ({"stop_seconds": -1}, "stop_seconds"),
        ({"sweep_seconds": -1}, "sweep_seconds"),
        ({"drver": "sim"}, "drver"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        Config({"compute": values}).section("compute", ComputeConfig)


@pytest.mark.parametrize(
    ("kind", "given", "passed"),
    [
        (LibvirtHypervisor, {}, {"stop_seconds": 7.0}),
        (LibvirtHypervisor, {"stop_seconds": 3.0}, {"stop_seconds": 3.0}),
        (SimHypervisor, {}, {}),
    ],
)
def test_the_guests_time_to_stop_is_told_to_a_driver_that_knows_it(
    kind: type[Hypervisor], given: dict[str, Any], passed: dict[str, Any]
) -> None:
    config = ComputeConfig(options=given, stop_seconds=7)
    assert config.options_for(kind) == passed
