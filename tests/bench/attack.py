"""What listZones of others costs while strangers attack, beside what it costs without."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from tests.bench.attackers import KINDS
from tests.bench.client import Api, signed
from tests.bench.figure import Figure, measured
from tests.bench.process import disk_folder
from tests.system.processes import Cloud

SECONDS, EVERY_S = 8.0, 0.01
PASSWORD = "bench-password"


async def measure() -> list[Figure]:
    with disk_folder() as folder, Cloud(folder, fabric={"admin_password": PASSWORD}) as cloud:
        cloud.start("data", "api", "fabric")
        await asyncio.to_thread(cloud.wait_ready)
        async with Api(cloud.url) as api:
            query = signed(command="listZones")

            async def list_zones() -> None:
                await api.send(query)

            await _times(list_zones)
            figures: list[Figure] = []
            for kind in KINDS:
                quiet = await _times(list_zones)
                async with attacked(cloud.url, kind):
                    figures += _compared(kind, quiet, await _times(list_zones))
            return [*figures, await _login(cloud.url)]


@asynccontextmanager
async def attacked(url: str, kind: str) -> AsyncGenerator[None]:
    """Strangers at work, from another address of this machine."""
    command = (sys.executable, "-m", "tests.bench.attackers", url, kind)
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await asyncio.sleep(1.5)  # until it has begun
        assert process.returncode is None, f"the attackers ended with {process.returncode}"
        yield
    finally:
        process.kill()
        await process.wait()


async def _times(ask: Callable[[], Awaitable[None]], seconds: float = SECONDS) -> list[float]:
    """Milliseconds that each call took, shortest first."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        await ask()
        found.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(EVERY_S)
    return sorted(found)


def _at(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))]


def _compared(kind: str, quiet: list[float], loud: list[float]) -> list[Figure]:
    found: list[Figure] = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        before, after = _at(quiet, share), _at(loud, share)
        beside = f"{before:.3g} ms without, {after:.3g} ms with; the longest {loud[-1]:.3g} ms"
        figure = f"listZones {name} under attack by {kind}, ratio"
        found.append(measured(figure, after / before, "", 2.0, beside=beside))
    return found


async def _login(url: str) -> Figure:
    """The admin's, from an address of his own."""
    asked = {"command": "login", "username": "admin", "password": PASSWORD, "response": "json"}
    async with aiohttp.ClientSession() as session:

        async def login() -> None:
            async with session.post(url, data=asked) as answer:
                assert answer.status == 200, await answer.text()

        quiet = await _times(login, 3.0)
        async with attacked(url, "logins"):
            loud = await _times(login)
    before, after = _at(quiet, 0.5), _at(loud, 0.5)
    beside = f"{before:.3g} ms without, {after:.3g} ms with; the longest {loud[-1]:.3g} ms"
    name = "admin's login p50 under a hundred wrong ones, ratio"
    return measured(name, after / before, "", 3.0, beside=beside)
