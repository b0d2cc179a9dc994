"""Damage to the database is found, and told in a sentence; the service goes on where it can."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from csnode.contracts.data import Delete
from csnode.data.rows import encoded
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from csnode.testing.data_cloud import created, updated, vm
from roles.data import books
from roles.data.role import DataRole
from tests.unit.data_role.test_disk import commit, file_of, running


@asynccontextmanager
async def kept(path: Path) -> AsyncGenerator[DataRole]:
    """Entries 1 and 2: v1. 3: v2. 4 and 5: a lock that came and went. 6: a zone."""
    async with running(path / "d.db") as role:
        await commit(role, created(vm("v1")))
        await commit(role, updated(Vm, "v1", name="x"))
        await commit(role, created(vm("v2")))
        await commit(role, created(Lock(id="l", job="j")))
        await commit(role, Delete(kind="lock", id="l"))
        await commit(role, created(Zone(id="z", name="z")))
        assert await role.check() == ()
        yield role


def spoil(role: DataRole, sql: str, *values: Any) -> None:
    file_of(role).rows(sql, values)


DAMAGE: list[tuple[str, str]] = [
    ("DELETE FROM feed WHERE number = 3", "the feed has no entry 3"),
    ("DELETE FROM feed WHERE number IN (3, 4)", "the feed has no entries 3 to 4"),
    ("DELETE FROM feed WHERE number = 6", "the head of zone is 6, but it has no entry in the feed"),
    ("DELETE FROM feed WHERE number = 1", "the feed has no entry 1"),
    ("DELETE FROM feed WHERE number <= 4", "the feed has no entries 1 to 4"),
    (
        "UPDATE head SET number = 1 WHERE kind = 'vm'",
        "the head of vm is 1, but its last entry is 3",
    ),
    (
        "UPDATE head SET number = 9 WHERE kind = 'vm'",
        "the head of vm is 9, but its last entry is 3",
    ),
    ("DELETE FROM head WHERE kind = 'zone'", "the head of zone is 0, but its last entry is 6"),
    (
        "UPDATE vm SET row = replace(row, '\"x\"', '\"y\"') WHERE id = 'v1'",
        "vm v1 reads otherwise than its last entry, 2",
    ),
    (
        "UPDATE vm SET revision = 7 WHERE id = 'v1'",
        "vm v1 is at revision 7, but its last entry, 2, has revision 2",
    ),
    ("DELETE FROM vm WHERE id = 'v1'", "vm v1 is gone, but its last entry, 2, has revision 2"),
    (
        "INSERT INTO lock (id, revision, row) VALUES ('l', 1, '{}')",
        "lock l is there at revision 1, but its last entry, 5, says that it went",
    ),
    (
        "INSERT INTO lock (id, revision, row) VALUES ('m', 1, '{}')",
        "lock m has no entry in the feed",
    ),
]


@pytest.mark.parametrize(("sql", "said"), DAMAGE)
async def test_damage_is_named(tmp_path: Path, sql: str, said: str) -> None:
    async with kept(tmp_path) as role:
        spoil(role, sql)
        assert said in await role.check()


@pytest.mark.parametrize("sql", [sql for sql, _ in DAMAGE if "head" in sql])
async def test_a_wrong_head_does_not_stop_commits(tmp_path: Path, sql: str) -> None:
    async with kept(tmp_path) as role:
        spoil(role, sql)
    async with running(tmp_path / "d.db") as role:
        done = await commit(role, created(vm("v3")), created(Zone(id="y", name="y")))
        assert done.number >= 8
        assert (await role.get("vm", "v3")).id == "v3"
        assert all("head" not in said for said in await role.check())  # it is right again


async def test_much_damage_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "FINDINGS_MAX", 3)
    async with running(tmp_path / "d.db") as role:
        await commit(role, *(created(Lock(id=f"l{n}", job="j")) for n in range(9)))
        spoil(role, "UPDATE lock SET row = '{}'")
        assert len(await role.check()) == 3


async def test_entries_of_a_plugin_that_went_are_believed(tmp_path: Path) -> None:
    async with kept(tmp_path) as role:
        spoil(
            role,
            'INSERT INTO feed (number, kind, id, revision, at, trace, "by", row) '
            "VALUES (7, 'crate', 'c', 1, 0, '', '', ?)",
            encoded(Lock(id="c", job="j")).decode(),
        )
        spoil(role, "INSERT INTO head VALUES ('crate', 7)")
        assert await role.check() == ()
