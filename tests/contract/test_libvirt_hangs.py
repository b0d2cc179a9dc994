"""A libvirtd that hangs (SIGSTOP) keeps its own callers waiting, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csnode.drivers.driver import Seat
from csnode.drivers.hypervisor import Hypervisor
from csnode.faults import Fault, Unavailable
from csnode.testing.hypervisor import ONE, TWO, WITHIN_S
from csnode.types import Power
from roles.compute.drivers.libvirt import LibvirtHypervisor
from tests.contract.libvirtd import PrivateLibvirtd

CALLS = 30  # more than the threads of a connection


@pytest.fixture(scope="module")
def hanging() -> Iterator[PrivateLibvirtd]:
    with PrivateLibvirtd("csnode-hangs") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def other() -> Iterator[PrivateLibvirtd]:
    with PrivateLibvirtd("csnode-other") as daemon:
        yield daemon


def on(daemon: PrivateLibvirtd, folder: Path) -> Hypervisor:
    seat = Seat(id=daemon.name, name=daemon.name, address="127.0.0.1", folder=str(folder))
    return LibvirtHypervisor({"uri": daemon.uri, "kvm": "never", "stop_seconds": 1.0}, seat)


async def answers(hypervisor: Hypervisor) -> dict[str, Power]:
    """What it surveys, once it can be asked again."""
    async with asyncio.timeout(WITHIN_S * 4):
        while True:
            try:
                return {str(vm): power for vm, power in (await hypervisor.survey()).items()}
            except Unavailable:
                await asyncio.sleep(0.1)


@pytest.mark.real
async def test_a_libvirtd_that_hangs_slows_nobody_elses_work(
    hanging: PrivateLibvirtd, other: PrivateLibvirtd, tmp_path: Path
) -> None:
    async with on(hanging, tmp_path / "a") as stuck, on(other, tmp_path / "b") as free:
        await stuck.ensure_running(ONE)
        hanging.signal("libvirtd", "STOP")
        try:
            surveys = [asyncio.create_task(stuck.survey()) for _ in range(CALLS)]
            waiting: list[asyncio.Task[Any]] = [*surveys]
            waiting.append(asyncio.create_task(stuck.ensure_running(TWO)))
            for _ in range(CALLS):
                assert await free.survey() == {}
            assert not any(task.done() for task in waiting), "what hangs still hangs"
            assert await free.ensure_running(TWO) is Power.ON
            assert await free.ensure_off(TWO.vm, True) is Power.OFF
            await free.ensure_absent(TWO.vm)
        finally:
            hanging.signal("libvirtd", "CONT")
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(not isinstance(e, BaseException) or isinstance(e, Fault) for e in ended)
        assert (await answers(stuck))[ONE.vm] is Power.ON, "guests run on meanwhile"
        await stuck.ensure_absent(TWO.vm)
        await stuck.ensure_absent(ONE.vm)


@pytest.mark.real
async def test_a_driver_is_left_although_its_libvirtd_hangs(
    hanging: PrivateLibvirtd, tmp_path: Path
) -> None:
    try:
        async with asyncio.timeout(WITHIN_S), on(hanging, tmp_path / "a") as stuck:
            assert await answers(stuck) == {}
            hanging.signal("libvirtd", "STOP")
            waiting = asyncio.create_task(stuck.survey())
            await asyncio.sleep(0)
    finally:
        hanging.signal("libvirtd", "CONT")
    await asyncio.gather(waiting, return_exceptions=True)
