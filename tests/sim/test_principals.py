"""In a virtual world, too, each machine proves who it is, and is held to that."""

from __future__ import annotations

import pytest

from csnode.context import proved
from csnode.contracts.compute import Compute
from csnode.contracts.data import Data
from csnode.data.store import Store
from csnode.faults import Denied
from csnode.model.host import Host
from csnode.model.identity import User
from csnode.testing.loop import simulate
from csnode.testing.world import World


def test_a_host_of_a_world_may_do_what_a_host_may_and_no_more() -> None:
    async def story() -> None:
        async with World(1) as world:
            host = world.processes["host-1"].node
            api = world.processes["api-1"].node
            assert host is not None
            assert api is not None
            store = Store(host.bus, "compute", "host-1")

            async def honest() -> None:
                assert proved() is None
                ids = {row.name: row.id for row in await store.find(Host)}
                assert {"host-1", "host-2"} <= ids.keys()
                with pytest.raises(Denied, match="host-1 may not read user rows"):
                    await store.find(User)
                with pytest.raises(Denied, match=r"host-1 may not call Compute\.ensure_off"):
                    await host.bus.ask(Compute, at=ids["host-2"]).ensure_off("vm", True)  # type: ignore[reportArgumentType]
                forged = Store(host.bus, "api", "api-1")
                with pytest.raises(Denied, match="commit in the name of api@api-1"):
                    await forged.observe(Host, ids["host-1"], name="mine")

            await world.inside("host-1", honest, 30.0)

            async def whole() -> None:
                assert await Store(api.bus, "api", "api-1").find(User)
                assert await api.bus.ask(Data).head(("user",))

            await world.inside("api-1", whole, 30.0)

    simulate(story())
