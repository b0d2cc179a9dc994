"""Rows so large that a page of them is no message, read by another process than the data role's."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from csnode.bus.event import Changed
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Fault
from csnode.model.rules import USER_DATA_MAX, user_data
from csnode.model.vm import Vm
from csnode.testing.data_cloud import vm
from csnode.verify.rows import Rows
from roles.data.config import DataConfig
from tests.contract.data_writer import playing
from tests.contract.zmq_nodes import ZmqNodes
from tests.support.bus import deaf

MANY = 20  # machines that an account may have, as CloudStack has it
LARGEST = user_data(base64.b64encode(os.urandom(USER_DATA_MAX // 4 * 3)).decode())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """What a role on another node has of the data service."""
    nodes = ZmqNodes()
    data, api = await nodes.join("data"), await nodes.join("api")
    try:
        async with playing(data, DataConfig(path=str(tmp_path / "db"), inline=True)):
            nodes.tell("data")
            yield Store(api, "api", "api")
    finally:
        await nodes.close()


async def make(store: Store, id: str) -> None:
    change = store.change()
    change.create(vm(id, user_data=LARGEST))
    await change.commit()


async def test_they_are_all_found_and_seen_and_judged(store: Store) -> None:
    for n in range(MANY):
        await make(store, f"v{n}")
    assert len(await store.find(Vm)) == MANY
    view, judged = View(store, (Vm,)), Rows()
    await view.open()
    assert view.size(Vm) == MANY
    view.close()
    await judged.begin(store)
    await judged.read(store)
    assert len(judged.of(Vm)) == MANY


async def test_a_view_that_no_event_reaches_follows_them(store: Store) -> None:
    view = View(Store(deaf(store.bus, Changed), "api", "api"), (Vm,))
    await view.open()
    await make(store, "v")
    for n in range(MANY):
        change = store.change()
        change.update(Vm, "v", display_name=f"{n}")
        await change.commit()
    async with asyncio.timeout(60):
        while not (row := view.maybe(Vm, "v")) or row.display_name != f"{MANY - 1}":
            with suppress(Fault):
                await view.fresh()
    view.close()
