"""What one signed request costs the api: a get by id, and a page of 500 machines with all fields.

The api runs with data and fabric only: rows of machines that no host knows would keep the other
roles busy. The cost is the CPU of that whole process; signing and reading are this process's.
"""

from __future__ import annotations

import asyncio
import json

from csnode.cli.joined import joined, store
from csnode.config import Config
from tests.bench.client import Api, signed
from tests.bench.figure import Figure, measured
from tests.bench.process import cpu_s, disk_folder
from tests.bench.rows import Rows
from tests.system.processes import Cloud

FEW, MANY, PAGE = 500, 20_000, 500
GETS, LISTS = 2000, 200


async def measure() -> list[Figure]:
    with disk_folder() as folder, Cloud(folder) as cloud:
        process = cloud.start("data", "api", "fabric")
        await asyncio.to_thread(cloud.wait_ready)
        async with joined(Config.read(cloud.file, {}, {})) as bus, Api(cloud.url) as api:
            rows = Rows(store(bus))
            await _seeded(api)
            await rows.open()
            await rows.grow(FEW)
            figures = await _both(api, process.pid, rows, FEW)
            await rows.grow(MANY)
            return [*figures, *await _both(api, process.pid, rows, MANY)]


async def _seeded(api: Api) -> None:
    """Until fabric has made what a cloud begins with."""
    async with asyncio.timeout(60):
        while True:
            last = (("listClusters", "cluster"), ("listNetworkOfferings", "networkoffering"))
            if all([await api.rows(command, key) for command, key in last]):
                break
            await asyncio.sleep(0.1)


async def _both(api: Api, pid: int, rows: Rows, total: int) -> list[Figure]:
    page = signed(command="listVirtualMachines", listall="true", page=1, pagesize=PAGE)
    body = await api.send(page)
    found = json.loads(body)["listvirtualmachinesresponse"]
    assert found["count"] == total, f"{found['count']} machines are listed, {total} there are"
    assert len(found["virtualmachine"]) == PAGE
    fields = len(found["virtualmachine"][0])
    gets = [signed(command="listVirtualMachines", id=vm) for vm in rows.made[:FEW]]
    get = await _cost_ms(api, pid, gets, GETS)
    list = await _cost_ms(api, pid, [page], LISTS)
    moved = await _moved_ms(api, pid, rows, page)
    note = f"{fields} fields a row, {len(body) / 1e6:.1f} MB of JSON; "
    note += f"{moved:.2g} ms if a row changed before it"
    return [
        measured(f"signed get by id, CPU, at {total:,} VMs", get, "ms", 0.6),
        measured(f"list of {PAGE} rows, CPU, at {total:,} VMs", list, "ms", 5, beside=note),
    ]


async def _cost_ms(api: Api, pid: int, queries: list[str], times: int) -> float:
    """CPU milliseconds of the process for each request; the first tenth only warms up."""

    async def ask(count: int) -> None:
        for n in range(count):
            await api.send(queries[n % len(queries)])

    await ask(max(times // 10, 2))
    before = cpu_s(pid)
    await ask(times)
    return (cpu_s(pid) - before) / times * 1000


async def _moved_ms(api: Api, pid: int, rows: Rows, query: str) -> float:
    """The same where a row of the page changes before each request, less what that alone costs."""
    before = cpu_s(pid)
    for n in range(LISTS):
        await rows.touch(n)
    between = cpu_s(pid)
    for n in range(LISTS):
        await rows.touch(n)
        await api.send(query)
    return (cpu_s(pid) - between - (between - before)) / LISTS * 1000
