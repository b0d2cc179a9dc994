"""What the disk may do to the data role, and what it says then."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from csnode.bus.local import LocalBus
from csnode.config import NodeConfig
from csnode.contracts.data import Commit, Committed, Delete
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Broken, Invalid, Refused, Unavailable
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import created, outcome, outcomes, updated, vm
from roles.data import sqlite, stored
from roles.data.config import DataConfig
from roles.data.role import DataRole


@asynccontextmanager
async def running(path: Path | str, inline: bool = False) -> AsyncGenerator[DataRole]:
    """The role on that file."""
    bus = LocalBus(AloneDirectory())
    role = DataRole(
        DataConfig(path=str(path), inline=inline), NodeConfig(), bus, Store(bus, "data")
    )
    async with asynccontextmanager(role.opened)():
        yield role


def file_of(role: DataRole) -> sqlite.Database:
    assert isinstance(role.database, sqlite.Database)
    return role.database


async def commit(role: DataRole, *changes: object) -> Committed:
    return await role.commit(Commit(changes=changes))  # type: ignore[reportArgumentType]


async def test_a_commit_is_fsynced(tmp_path: Path) -> None:
    async with sqlite.opened(str(tmp_path / "d.db"), inline=False) as database:
        assert database.rows("PRAGMA synchronous") == [(2,)]  # FULL
        assert database.rows("PRAGMA journal_mode") == [(b"wal",)]


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "d.db"
    async with running(path) as role:
        await commit(role, created(vm("v1")))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711


def other_process(path: Path) -> subprocess.Popen[bytes]:
    """Holds the file until it is killed."""
    hold = (
        "import asyncio, sys; from roles.data import sqlite\n"
        "async def hold():\n"
        "    async with sqlite.opened(sys.argv[1], inline=True):\n"
        "        print('held', flush=True); sys.stdin.read()\n"
        "asyncio.run(hold())"
    )
    here = [sys.executable, "-c", hold, str(path)]
    return subprocess.Popen(here, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_one_process_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    with other_process(path) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Refused, match=rf"another csnode .*d\.db \(pid {process.pid}\)"):
            async with running(path):
                pass
        process.kill()
    async with running(path) as role:
        assert (await commit(role, created(vm("v1")))).number == 1


@pytest.mark.parametrize("inline", [True, False])
async def test_a_damaged_file_is_one_clear_line(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "d.db"
    path.write_bytes(b"this was a database once\n" * 200)
    with pytest.raises(Refused, match=r"d\.db is damaged .*backup"):
        async with running(path, inline):
            pass


async def test_a_place_that_holds_no_files_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "d.db", tmp_path):
        with pytest.raises(Refused, match="cannot keep a database at"):
            async with running(path):
                pass


async def test_memory_needs_inline() -> None:
    with pytest.raises(Invalid, match="inline = true"):
        async with running(":memory:"):
            pass


@pytest.mark.parametrize("inline", [True, False])
async def test_a_full_disk_fails_commits_and_loses_none(tmp_path: Path, inline: bool) -> None:
    async with running(tmp_path / "d.db", inline) as role:
        await commit(role, created(vm("v1")), created(Zone(id="z1", name="one")))
        database = file_of(role)
        pages = database.rows("PRAGMA page_count")[0][0]
        database.rows(f"PRAGMA max_page_count={pages}")
        big = [created(vm(f"b{n}", user_data="x" * 50_000)) for n in range(5)]
        ended = await outcomes(*(commit(role, one) for one in big))
        assert list(ended) == [Unavailable] * 5
        with pytest.raises(Unavailable, match="the disk of the data service is full"):
            await commit(role, big[0])
        assert role.troubles() == ("the disk of the data service is full",)
        assert await role.head(("vm", "zone")) == 2
        assert [row.id for row in await role.find("vm", {}, "", 9)] == ["v1"]
        database.rows("PRAGMA max_page_count=1000000")
        done = await asyncio.gather(*(commit(role, one) for one in big))
        assert [d.number for d in done] == [3, 4, 5, 6, 7]
        assert role.troubles() == ()


async def test_one_poisoned_commit_fails_alone(tmp_path: Path) -> None:
    """The database itself refuses one row of a batch."""
    async with running(tmp_path / "d.db") as role:
        file_of(role).rows(
            "CREATE TRIGGER poison BEFORE INSERT ON lock WHEN new.id = 'l3' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        locks = [created(Lock(id=f"l{n}", job="j")) for n in range(6)]
        ended = await outcomes(*(commit(role, one) for one in locks))
        assert list(ended) == [None, None, None, Broken, None, None]
        numbers = [e.number for _, e in (await role.feed(0, ("lock",), 99)).entries]
        assert numbers == [1, 2, 3, 4, 5]


async def test_a_bug_in_one_commit_is_its_own(tmp_path: Path) -> None:
    async with running(tmp_path / "d.db") as role:
        ended = await outcomes(
            commit(role, created(vm("v1"))),
            commit(role, Delete(kind="vm", id="\ud800")),  # no text that SQL could take
            commit(role, created(vm("v2"))),
        )
        assert list(ended) == [None, Broken, None]


async def test_closing_finishes_the_queue(tmp_path: Path) -> None:
    async with running(tmp_path / "d.db") as role:
        waiting = [asyncio.ensure_future(commit(role, created(vm(f"v{n}")))) for n in range(9)]
        await asyncio.sleep(0)
        await role.drain()
        assert [w.done() for w in waiting] == [True] * 9
        last = asyncio.ensure_future(commit(role, created(vm("last"))))
        await asyncio.sleep(0)
    assert (await last).number == 10
    async with running(tmp_path / "d.db") as role:
        assert (await role.get("vm", "last")).id == "last"


async def test_a_commit_that_nobody_waits_for_is_not_begun(tmp_path: Path) -> None:
    async with running(tmp_path / "d.db") as role:
        given_up = asyncio.ensure_future(commit(role, created(vm("v1"))))
        await asyncio.sleep(0)
        given_up.cancel()
        await commit(role, created(vm("v2")))
        assert [row.id for row in await role.find("vm", {}, "", 9)] == ["v2"]


async def test_rows_leave_memory_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "CACHE_BYTES", 2_000)
    async with running(tmp_path / "d.db") as role:
        await asyncio.gather(*(commit(role, created(vm(f"v{n}"))) for n in range(50)))
        for turn in range(3):
            await asyncio.gather(
                *(commit(role, updated(Vm, f"v{n}", name=f"{turn}")) for n in range(50))
            )
        assert role.stored._cached_bytes <= 2_000
        rows = [await role.get("vm", f"v{n}") for n in range(50)]
        assert all(b'"name":"2"' in row.row and b'"revision":4' in row.row for row in rows)
        assert await outcome(commit(role, created(vm("v7")))) is not None
