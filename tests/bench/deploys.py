"""Deploys through every role in one process, simulated hosts, a real SQLite file on disk."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle

from tests.bench.client import Api, Ready, networks, prepare
from tests.bench.figure import Figure, measured, median
from tests.bench.process import cpu_s, disk_folder
from tests.system.processes import Cloud

HOSTS, NETWORKS, ALONE, TOGETHER, AT_ONCE = 20, 8, 30, 1200, 64
URL = "http://images.example/bench.qcow2"


async def measure() -> list[Figure]:
    played = {"driver": "sim", "hosts": HOSTS}
    with (
        disk_folder() as folder,
        Cloud(folder, compute=played, network=played, storage=played) as cloud,
    ):
        process = cloud.start()
        await asyncio.to_thread(cloud.wait_ready)
        async with Api(cloud.url) as api:
            ready = await prepare(api, HOSTS, URL, memory_mib=64)
            nets = await networks(api, ready["zoneid"], NETWORKS)
            for net in nets:  # the first machine brings the router up
                await _deploy(api, ready, net)
            alone = [await _deploy(api, ready, net) for net, _ in zip(cycle(nets), range(ALONE))]
            figure = measured(
                "deploy, one at a time, p50", median(alone) * 1000, "ms", 30,
                beside="request to job result, asked every 5 ms",
            )  # fmt: skip
            return [figure, *await _together(api, ready, nets, process.pid)]


async def _deploy(api: Api, ready: Ready, network: str) -> float:
    began = time.perf_counter()
    answer = await api.call("deployVirtualMachine", **ready, networkids=network)
    await api.settle(answer["jobid"])
    return time.perf_counter() - began


async def _together(api: Api, ready: Ready, nets: list[str], pid: int) -> list[Figure]:
    """All at once, AT_ONCE requests under way; ended when the last machine runs."""
    running = {"state": "Running", "page": 1, "pagesize": 1, "details": "min"}
    before = (await api.call("listVirtualMachines", **running))["count"]
    todo = iter(range(TOGETHER))
    began, cpu_began = time.perf_counter(), cpu_s(pid)

    async def ask() -> None:
        for n in todo:
            network = nets[n % len(nets)]
            await api.call("deployVirtualMachine", **ready, networkids=network)

    async with asyncio.timeout(300):
        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        while True:
            found = await api.call("listVirtualMachines", **running)
            if found["count"] == before + TOGETHER:
                break
            await asyncio.sleep(0.1)
    took, cpu = time.perf_counter() - began, cpu_s(pid) - cpu_began
    note = f"{TOGETHER} deploys with a card each, {AT_ONCE} requests at once"
    return [
        measured("deploy, CPU of all roles", cpu / TOGETHER * 1000, "ms", 10, beside=note),
        measured("deploys", TOGETHER / took, "/s", 100, best="high", beside="until the last runs"),
    ]
