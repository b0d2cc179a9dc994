"""Commits of the data service over ZeroMQ, each on disk before it is answered.

The data role has a process of its own and this one asks it; every commit updates a row, adds to
the feed and is published. Beside it: SQLite alone doing the same writes, as many to an fsync.
Rounds of the two alternate.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

from csnode.cli.joined import joined, store
from csnode.config import Config
from csnode.data.store import Store
from csnode.model.identity import Account, Domain
from csnode.model.place import Zone
from csnode.model.volume import Volume
from csnode.types import AccountId, DomainId, Struct, ZoneId
from csnode.uuids import new_id
from tests.bench.figure import Figure, measured, median
from tests.bench.process import cpu_s, disk_folder
from tests.system.processes import Cloud, wait_for

SECONDS, RAW_SECONDS, ROUNDS, ROWS = 2.0, 1.0, 5, 1000
AIMS = {1: None, 16: None, 256: 20_000.0}


async def measure() -> list[Figure]:
    with disk_folder() as folder, Cloud(folder) as cloud:
        process = cloud.start("data")
        await asyncio.to_thread(_wait_until_ready, cloud)
        async with joined(Config.read(cloud.file, {}, {})) as bus:
            data = store(bus)
            volumes = await _volumes(data)
            figures: list[Figure] = []
            for at_once, aim in AIMS.items():
                await _commit(data, volumes, at_once, 0.5)
                asked = (data, volumes, at_once, process.pid, folder)
                rounds = [await _round(*asked) for _ in range(ROUNDS)]
                figures.append(_figure(rounds, at_once, aim))
            return figures


class Round(Struct):
    """One turn of ours and of SQLite's."""

    rate: float
    raw_rate: float
    p50_s: float
    there_s: float  # CPU of the data service for each commit
    here_s: float  # and of this process


async def _round(data: Store, ids: list[str], at_once: int, pid: int, folder: Path) -> Round:
    there, here = cpu_s(pid), time.process_time()
    times = await _commit(data, ids, at_once, SECONDS)
    there, here = cpu_s(pid) - there, time.process_time() - here
    return Round(
        rate=len(times) / SECONDS,
        raw_rate=await asyncio.to_thread(_raw_rate, folder, at_once),
        p50_s=median(times),
        there_s=there / len(times),
        here_s=here / len(times),
    )


def _figure(rounds: list[Round], at_once: int, aim: float | None) -> Figure:
    raw = median([r.raw_rate for r in rounds])
    note = f"{median([r.rate / r.raw_rate for r in rounds]):.2f} of SQLite alone ({raw:,.0f}/s); "
    note += f"p50 {median([r.p50_s for r in rounds]) * 1e3:.2f} ms; "
    note += f"CPU of each {median([r.there_s for r in rounds]) * 1e6:.0f} us there, "
    note += f"{median([r.here_s for r in rounds]) * 1e6:.0f} us here"
    name = f"commits, fsynced, {at_once} outstanding"
    rate = median([r.rate for r in rounds])
    return measured(name, rate, "/s", aim, best="high", beside=note)


def _wait_until_ready(cloud: Cloud) -> None:
    """The first process makes the key of this machine's users, and a client needs it to join."""
    wait_for(lambda: '"ready"' in cloud.log("data"), 60, "the data process is ready")


async def _volumes(data: Store) -> list[str]:
    """Volumes to write to, and what they refer to."""
    domain = Domain(id=new_id(), name="bench", path="bench")
    account = Account(id=new_id(), name="bench", domain=DomainId(domain.id))
    zone = Zone(id=new_id(), name="bench")
    change = data.change()
    for row in (domain, account, zone):
        change.create(row)
    ids = [new_id() for _ in range(ROWS)]
    for id in ids:
        change.create(
            Volume(
                id=id, name=f"ROOT-{id[:4]}", account=AccountId(account.id),
                domain=DomainId(domain.id), zone=ZoneId(zone.id), size=1,
            )
        )  # fmt: skip
    await change.commit()
    return ids


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
    file = folder / f"raw-{new_id()}.db"
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
    while time.perf_counter() < began + RAW_SECONDS:
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
