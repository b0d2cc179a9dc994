"""What a keeper tells of its host becomes an alert; of another's host it may tell nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import pytest

from csnode.bus.local import LocalBus
from csnode.config import NodeConfig
from csnode.context import Principal, prove
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Denied, NotFound
from csnode.model.alert import Alert
from csnode.testing.data_cloud import host
from csnode.types import HostId
from roles.data.config import DataConfig
from roles.data.role import DataRole
from roles.fabric.config import FabricConfig
from roles.fabric.fence import HostPower

NODE = NodeConfig(cluster="test", host="h", state="/nowhere")
OWN, OTHER = HostId("own"), HostId("other")
KEEPER = Principal(name="h1", roles=frozenset({"keeper", "compute"}), places=frozenset({OWN}))


@pytest.fixture
async def power() -> AsyncGenerator[HostPower]:
    bus = LocalBus(AloneDirectory())
    config = DataConfig(path=":memory:", inline=True)
    async with asynccontextmanager(DataRole(config, NODE, bus, Store(bus, "data")).opened)():
        change = Store(bus, "fabric").change()
        for id in (OWN, OTHER):
            change.create(host(id))
        await change.commit()
        yield HostPower(FabricConfig(), Store(bus, "fabric"), bus)


async def told(power: HostPower, host: HostId, text: str, who: Principal | None) -> None:
    async def tell() -> None:
        prove(who)
        await power.report(host, text)

    await asyncio.create_task(tell(), context=copy_context())


async def alerts(power: HostPower) -> list[Any]:
    return await power._store.find(Alert)


async def test_what_a_keeper_tells_is_an_alert_and_again_counts(power: HostPower) -> None:
    await told(power, OWN, "it lost pool san", KEEPER)
    await told(power, OWN, "it lost pool san again", KEEPER)
    (alert,) = await alerts(power)
    assert (alert.host, alert.count) == (OWN, 2)
    assert alert.text == "Host own: it lost pool san again"


async def test_a_keeper_tells_nothing_of_another_host(power: HostPower) -> None:
    with pytest.raises(Denied):
        await told(power, OTHER, "it is off, believe me", KEEPER)
    with pytest.raises(NotFound):
        await told(power, HostId("nobody's"), "x", None)
    assert await alerts(power) == []


async def test_a_long_story_is_cut(power: HostPower) -> None:
    await told(power, OWN, "x" * 100_000, KEEPER)
    (alert,) = await alerts(power)
    assert len(alert.text) < 1100
