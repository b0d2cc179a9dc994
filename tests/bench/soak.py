"""Memory of a cloud that makes machines and destroys them, over and over.

`python -m tests.bench.soak [CYCLES]`: a line after every twentieth of them, and at the end by how
much memory grew over the second half. What is kept for a while on purpose (jobs, events, the
feed) is kept for a short while here, so that it is full before the first line.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from itertools import count
from pathlib import Path

import uvloop

from tests.bench.client import Api, Ready, networks, prepare
from tests.bench.process import cpu_s, disk_folder
from tests.system.processes import Cloud

HOSTS, AT_ONCE, LINES, CYCLES = 4, 8, 20, 20_000
GROWTH_MAX = 0.05
URL = "http://images.example/soak.qcow2"
SETTINGS = {
    "compute": {"driver": "sim", "hosts": HOSTS},
    "network": {"driver": "sim", "hosts": HOSTS},
    "storage": {"driver": "sim", "hosts": HOSTS},
    "orchestrator": {"job_keep_seconds": 10.0},
    "api": {"events_max": 500},
    "data": {"feed_keep": 2000},
    "log": {"level": "warning", "form": "json"},
}


def main() -> int:
    """Ends with 1 if memory grew by more than a twentieth over the second half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cycles", nargs="?", type=int, default=CYCLES)
    return uvloop.run(soaked(parser.parse_args().cycles))


async def soaked(cycles: int) -> int:
    """Run so many cycles, and print what the process holds."""
    with disk_folder() as folder, Cloud(folder, **SETTINGS) as cloud:
        process = cloud.start()
        await asyncio.to_thread(cloud.wait_ready)
        async with Api(cloud.url) as api:
            ready = await prepare(api, HOSTS, URL, memory_mib=64)
            nets = await networks(api, ready["zoneid"], 2)
            held: list[float] = []
            print("cycles  MB held  ms CPU each  ms each", flush=True)
            for done in range(cycles // LINES, cycles + 1, cycles // LINES):
                began, cpu = time.perf_counter(), cpu_s(process.pid)
                await _cycles(api, ready, nets, cycles // LINES)
                took = (time.perf_counter() - began) * 1000 * LINES / cycles
                spent = (cpu_s(process.pid) - cpu) * 1000 * LINES / cycles
                held.append(_resident_mb(process.pid))
                print(f"{done:6}  {held[-1]:7.1f}  {spent:11.1f}  {took:7.1f}", flush=True)
    half = held[len(held) // 2]
    grown = held[-1] / half - 1
    print(f"over the second half: {grown:+.1%} of {half:.0f} MB (at most {GROWTH_MAX:+.0%})")
    return int(grown > GROWTH_MAX)


async def _cycles(api: Api, ready: Ready, nets: list[str], many: int) -> None:
    todo = count()

    async def work() -> None:
        while (n := next(todo)) < many:
            network = nets[n % len(nets)]
            made = await api.call("deployVirtualMachine", **ready, networkids=network)
            await api.settle(made["jobid"], 0.05)
            gone = await api.call("destroyVirtualMachine", id=made["id"], expunge="true")
            await api.settle(gone["jobid"], 0.05)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())


def _resident_mb(pid: int) -> float:
    """In MB of 10^6 bytes (proc(5), status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no VmRSS for process {pid}")


if __name__ == "__main__":
    raise SystemExit(main())
