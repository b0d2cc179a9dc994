"""What a cloud begins with, in the order in which others come to see it."""

from __future__ import annotations

from csnode.bus.local import LocalBus
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.model.identity import Account, User
from csnode.model.place import Zone
from csnode.model.stock import Range
from csnode.plugins import entity_kinds
from roles.data.config import DataConfig
from roles.fabric.config import FabricConfig
from roles.fabric.seed import Seed
from tests.contract.data_writer import playing


async def test_whoever_sees_the_first_user_sees_the_whole_cloud() -> None:
    """An api is ready as soon as it knows a user; its first client asks for zones."""
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        store, all_kinds = Store(bus, "fabric", "box"), tuple(entity_kinds())
        await Seed("c", FabricConfig()).sow(store)
        feed = await store.data.feed(0, all_kinds, 1000)
        kinds = [kind for kind, _ in feed.entries]
        assert {Zone.kind, Range.kind, Account.kind} <= set(kinds)
        assert kinds.index(User.kind) == len(kinds) - 1

        await Seed("c", FabricConfig()).sow(store)
        assert await store.data.head(all_kinds) == feed.upto
