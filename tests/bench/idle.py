"""A cloud at rest: how soon it is ready, what it holds and what it burns."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import aiohttp

from tests.bench.figure import Figure, measured, median
from tests.bench.process import cpu_s, disk_folder, pss_mb
from tests.system.processes import Cloud

STARTS, SETTLE_S, WATCH_S = 3, 10, 30


async def measure() -> list[Figure]:
    starts: list[float] = []
    for _ in range(STARTS):
        with disk_folder() as folder, Cloud(folder) as cloud:
            starts.append(await _start(cloud))
    with disk_folder() as folder, Cloud(folder) as cloud:
        await _start(cloud)
        pid = cloud.processes["all"].pid
        await asyncio.sleep(SETTLE_S)
        began = cpu_s(pid)
        await asyncio.sleep(WATCH_S)
        share = (cpu_s(pid) - began) / WATCH_S * 100
        return [
            measured("ready after exec, all roles", median(starts), "s", 2, beside=_bare()),
            measured("idle memory, all roles", pss_mb(pid), "MB", 100, beside="PSS"),
            measured("idle CPU, all roles", share, "%", 0.5, beside=f"of a core, over {WATCH_S} s"),
        ]


async def _start(cloud: Cloud) -> float:
    """Seconds from exec to the first 200 of /readyz."""
    began = time.perf_counter()
    process = cloud.start()
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while process.poll() is None:
            try:
                async with session.get(f"http://127.0.0.1:{cloud.port}/readyz") as answer:
                    if answer.status == 200:
                        return time.perf_counter() - began
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.01)
    raise RuntimeError(f"csnode ended:\n{cloud.log('all')[-2000:]}")


def _bare() -> str:
    """How long the libraries alone take to import, on this machine now."""
    began = time.perf_counter()
    libraries = "import aiohttp, aiosqlite, alembic, sqlalchemy, structlog, uvloop, zmq"
    subprocess.run([sys.executable, "-c", libraries], check=True)
    return f"importing its libraries alone: {time.perf_counter() - began:.2f} s"
