"""Commits of the data service over ZeroMQ, each on disk before it is answered.

The data role has a process of its own and this one asks it; every commit updates a row, adds to
the feed and is published. Beside it: SQLite alone doing the same writes, as many to an fsync.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

from csnode.cli.joined import joined, store
from csnode.config import Config
from csnode.data.store import Store
from csnode.model.volume import Volume
from csnode.types import AccountId, DomainId, ZoneId
from csnode.uuids import new_id
from tests.bench.figure import Figure, measured, median
from tests.bench.process import cpu_s, disk_folder
from tests.system.processes import Cloud

SECONDS, ROWS = 4.0, 1000
AIMS = {1: None, 16: None, 256: 20_000.0}


async def measure() -> list[Figure]:
    with disk_folder() as folder, Cloud(folder) as cloud:
        process = cloud.start("data")
        async with joined(Config.read(cloud.file, {}, {})) as bus:
            data = store(bus)
            volumes = await _volumes(data)
            figures: list[Figure] = []
            for at_once, aim in AIMS.items():
                await _commit(data, volumes, at_once, 0.5)
                cpu, own = cpu_s(process.pid), time.process_time()
                times = await _commit(data, volumes, at_once, SECONDS)
                cpu = (cpu_s(process.pid) - cpu) / len(times) * 1e6
                own = (time.process_time() - own) / len(times) * 1e6
                rate = len(times) / SECONDS
                raw = await asyncio.to_thread(_raw_rate, folder, at_once)
                note = f"{rate / raw:.2f} of SQLite alone ({raw:,.0f}/s); "
                note += f"p50 {median(times) * 1000:.2f} ms; "
                note += f"CPU of each {cpu:.0f} us there, {own:.0f} us here"
                name = f"commits, fsynced, {at_once} outstanding"
                figures.append(measured(name, rate, "/s", aim, best="high", beside=note))
            return figures


async def _volumes(data: Store) -> list[str]:
    ids = [new_id() for _ in range(ROWS)]
    async with asyncio.timeout(30):
        while True:
            try:
                await data.data.head(("volume",))
                break
            except Exception:  # noqa: BLE001 (it is starting)
                await asyncio.sleep(0.1)
    change = data.change()
    for id in ids:
        change.create(_volume(id))
    await change.commit()
    return ids


def _volume(id: str) -> Volume:
    owner, domain, zone = AccountId(new_id()), DomainId(new_id()), ZoneId(new_id())
    return Volume(id=id, name=f"ROOT-{id[:4]}", account=owner, domain=domain, zone=zone, size=1)


async def _commit(data: Store, ids: list[str], at_once: int, seconds: float) -> list[float]:
    """Commit for so long, that many at once; how long each took, in seconds."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def ask(first: int) -> None:
        n = first
        while (began := time.perf_counter()) < until:
            change = data.change()
            change.update(Volume, ids[n % ROWS], attached=float(n))
            await change.commit()
            times.append(time.perf_counter() - began)
            n += at_once

    await asyncio.gather(*(ask(first) for first in range(at_once)))
    return times


def _raw_rate(folder: Path, at_once: int) -> float:
    """Commits a second of SQLite alone: an update and a feed entry each, so many an fsync."""
    file = folder / f"raw-{at_once}.db"
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE row (id TEXT PRIMARY KEY, revision INT, row TEXT)")
    connection.execute(
        "CREATE TABLE feed (number INTEGER PRIMARY KEY, kind TEXT, id TEXT, revision INT,"
        " row TEXT, at REAL)"
    )
    text = "x" * 300
    connection.executemany(
        "INSERT INTO row VALUES (?, 1, ?)", [(str(n), text) for n in range(ROWS)]
    )
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + 1.5:
        connection.execute("BEGIN IMMEDIATE")
        ids = [str((done + n) % ROWS) for n in range(at_once)]
        connection.executemany(
            "UPDATE row SET revision = ?, row = ? WHERE id = ?", [(done, text, id) for id in ids]
        )
        connection.executemany(
            "INSERT INTO feed (kind, id, revision, row, at) VALUES ('volume', ?, ?, ?, 0)",
            [(id, done, text) for id in ids],
        )
        connection.execute("COMMIT")
        done += at_once
    took = time.perf_counter() - began
    connection.close()
    return done / took
