"""One tenant queues reboots of his one machine; what an admin's list and deploy cost meanwhile.

Twice: he asks as fast as he is answered, and stops where he is told to wait; and with no bound
set, as a cloud has it that took thousands of orders before there was one. It is quiet before and
after, so that what else this machine does meets both alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.bench.client import Api, Ready, networks, prepare
from tests.bench.figure import Figure, measured
from tests.bench.process import disk_folder
from tests.system.processes import Cloud

HOSTS, QUEUED, LISTS, DEPLOYS, AT_ONCE = 4, 3000, 60, 10, 16
URL = "http://images.example/noisy.qcow2"
AIM = 2.0


async def measure() -> list[Figure]:
    return [*await _compared("bounded", 32), *await _compared("3,000 queued", -1)]


async def _compared(name: str, bound: int) -> list[Figure]:
    played = {"driver": "sim", "hosts": HOSTS}
    slow = {**played, "options": {"latency_s": 0.2}}  # a reboot takes a while, so they queue up
    bounds = {"jobs_per_object": bound, "jobs_per_account": -1}
    with (
        disk_folder() as folder,
        Cloud(folder, compute=slow, network=played, storage=played, api=bounds) as cloud,
    ):
        cloud.start()
        await asyncio.to_thread(cloud.wait_ready)
        async with Api(cloud.url) as api, Api(cloud.url) as noisy:
            ready = await prepare(api, HOSTS, URL, memory_mib=64)
            (net,) = await networks(api, ready["zoneid"], 1)
            made = await api.call("deployVirtualMachine", **ready, networkids=net)
            await api.settle(made["jobid"])
            quiet, loud = await _rounds(api, noisy, ready, net, made["id"])
    return [_figure(name, what, quiet[n], loud[n]) for n, what in enumerate(("list", "deploy"))]


Times = tuple[list[float], list[float]]


async def _rounds(api: Api, noisy: Api, ready: Ready, net: str, vm: str) -> tuple[Times, Times]:
    quiet: Times = ([], [])
    loud: Times = ([], [])
    await _timed(api, ready, net, quiet)
    async with _noise(noisy, vm):
        for _ in range(2):
            await _timed(api, ready, net, loud)
    await _calm(api, vm)
    await _timed(api, ready, net, quiet)
    return quiet, loud


async def _timed(api: Api, ready: Ready, net: str, into: Times) -> None:
    for n in range(LISTS):
        began = time.perf_counter()
        await api.call("listZones")
        into[0].append(time.perf_counter() - began)
        if n % (LISTS // DEPLOYS) == 0:
            began = time.perf_counter()
            made = await api.call("deployVirtualMachine", **ready, networkids=net)
            await api.settle(made["jobid"])
            into[1].append(time.perf_counter() - began)


@asynccontextmanager
async def _noise(noisy: Api, vm: str) -> AsyncGenerator[None]:
    """Begins once the queue is there: as long as it was to be, or as long as it may be."""
    queued = asyncio.Event()

    async def ask(count: int) -> None:
        for _ in range(count):
            try:
                await noisy.call("rebootVirtualMachine", id=vm)
            except RuntimeError as refused:
                if not str(refused).startswith("535"):
                    raise
                queued.set()
                await asyncio.sleep(1)  # what Retry-After says

    asking = [asyncio.create_task(ask(QUEUED // AT_ONCE)) for _ in range(AT_ONCE)]
    every = asyncio.gather(*asking, return_exceptions=True)
    await asyncio.wait((every, asyncio.create_task(queued.wait())), return_when="FIRST_COMPLETED")
    try:
        yield
    finally:
        for task in asking:
            task.cancel()
        await every


async def _calm(api: Api, vm: str) -> None:
    """Call off what still waits."""
    while jobs := await api.rows("listJobQueue", "queuedjob", resourceid=vm):
        for job in jobs:
            try:
                await api.call("cancelAsyncJob", jobid=job["jobid"])
            except RuntimeError:  # it ended meanwhile
                continue


def _figure(name: str, what: str, quiet: list[float], loud: list[float]) -> Figure:
    ms = {p: (_part(loud, p) * 1000, _part(quiet, p) * 1000) for p in (50, 99)}
    note = ", ".join(f"p{p} {with_:.1f} ms against {alone:.1f}" for p, (with_, alone) in ms.items())
    ratio = _part(loud, 99) / _part(quiet, 99)
    return measured(f"{what} beside a noisy tenant ({name}), p99", ratio, "x", AIM, beside=note)


def _part(times: list[float], percent: int) -> float:
    """That percentile."""
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]
