"""A plug-in's kind gets a Key while an older data process writes to the same PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack
from typing import Annotated, ClassVar

import pytest

from csnode.bus.local import LocalBus
from csnode.contracts.data import Commit, Data
from csnode.directory.alone import AloneDirectory
from csnode.faults import Fault
from csnode.model.entity import Entity, Key
from csnode.model.owner import Operators, Ownership
from csnode.testing.data_cloud import created
from roles.data import place
from roles.data.config import DataConfig
from roles.data.kind import Kind
from roles.data.place import Schema, shared_schema
from roles.data.postgres_sql import BulkHistory, BulkStatements
from roles.data.schema import metadata
from tests import servers
from tests.contract.data_writer import playing

ROWS = 4000  # to be filled in: long enough to meet batches


class Crate(Entity):
    kind: ClassVar[str] = "crate"
    owned_by: ClassVar[Ownership] = Operators()
    shelf: Annotated[str, Key()]
    weight: int | None = None


class LaterCrate(Entity):
    kind: ClassVar[str] = "crate"
    owned_by: ClassVar[Ownership] = Operators()
    shelf: Annotated[str, Key()]
    weight: Annotated[int | None, Key()] = None


def schema_with(crate: type[Entity]) -> Callable[[], Schema]:
    types = {name: kind.type for name, kind in shared_schema().kinds.items()} | {"crate": crate}
    tables = metadata(types)
    kinds = {n: Kind(t, tables.tables[n], BulkStatements) for n, t in types.items()}
    made = Schema(tables, kinds, BulkHistory(tables))
    return lambda: made


@pytest.fixture(scope="module")
def server() -> Generator[servers.PostgresServer]:
    with servers.postgres() as server:
        yield server


async def test_a_key_is_added_while_another_process_commits(
    server: servers.PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DataConfig(url=server.database())
    before, later = schema_with(Crate), schema_with(LaterCrate)
    faults: list[str] = []

    async def write(data: Data) -> None:
        for n in range(100_000):
            try:
                await data.commit(Commit(changes=(created(Crate(id=f"d{n}", shelf="s")),)))
            except Fault as fault:
                faults.append(f"{fault.message} {fault.detail}")
            await asyncio.sleep(0.005)

    async with AsyncExitStack() as opened:
        buses = [LocalBus(AloneDirectory()) for _ in range(2)]
        monkeypatch.setattr(place, "shared_schema", before)
        await opened.enter_async_context(playing(buses[0], config))
        older, newer = (bus.ask(Data) for bus in buses)
        for start in range(0, ROWS, 500):
            crates = (Crate(id=f"c{n}", shelf="s", weight=n) for n in range(start, start + 500))
            await older.commit(Commit(changes=tuple(created(crate) for crate in crates)))
        writing = asyncio.create_task(write(older))
        monkeypatch.setattr(place, "shared_schema", later)
        await opened.enter_async_context(playing(buses[1], config))
        writing.cancel()
        assert [row.id for row in await newer.find("crate", {"weight": 7}, "", 9)] == ["c7"]
    assert not [said for said in faults if "deadlock" in said]
