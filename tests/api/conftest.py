"""An api role and a data role in one process; nothing else of the cloud."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from csnode.api.about import Rank
from csnode.api.call import Caller
from csnode.api.command import COMMANDS
from csnode.bus.local import LocalBus
from csnode.config import NodeConfig
from csnode.contracts.data import ChangeItem, Delete
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.model.entity import Entity
from csnode.model.network import Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.role import NodeHealth
from csnode.types import AccountId, DomainId, UserId
from roles.api.config import ApiConfig
from roles.api.envelope import Reply
from roles.api.role import ApiRole
from roles.data.config import DataConfig
from roles.data.role import DataRole
from tests.api import seeds
from tests.api.shape import wrong
from tests.support.store import HinderedStore


def caller(account: str, domain: str, rank: Rank) -> Caller:
    return Caller(
        user=UserId(seeds.user_of(account)),
        account=AccountId(account),
        domain=DomainId(domain),
        rank=rank,
    )


ADMIN = caller(seeds.ADMIN, seeds.ROOT, Rank.ROOT_ADMIN)
BOSS = caller(seeds.BOSS, seeds.ACME, Rank.DOMAIN_ADMIN)
ALICE = caller(seeds.ALICE, seeds.ACME, Rank.USER)
BOB = caller(seeds.BOB, seeds.OTHER, Rank.USER)
LAB = caller(seeds.LAB, seeds.ACME_LABS, Rank.USER)


class Desk:
    """What a test talks to: the api role, and a store that goes past it."""

    def __init__(self, api: ApiRole, store: Store) -> None:
        self.api, self.store = api, store

    @property
    def behind(self) -> HinderedStore:
        """The api's own store."""
        assert isinstance(self.api.store, HinderedStore)
        return self.api.store

    async def reply(self, command: str, by: Caller | None = ADMIN, **params: str) -> Reply:
        return await self.api.answer({"command": command, **params}, caller=by)

    async def ask(self, command: str, by: Caller | None = ADMIN, **params: str) -> Any:
        """The content of a good answer, held against what its command declares."""
        reply = await self.reply(command, by, response="json", **params)
        ((wrapper, body),) = msgspec.json.decode(reply.body).items()
        assert reply.status == 200, body
        assert wrapper == f"{command.lower()}response"
        assert wrong(COMMANDS[command.lower()], body) == []
        return body

    async def refused(self, command: str, by: Caller | None = ADMIN, **params: str) -> Any:
        """The content of a refusal."""
        reply = await self.reply(command, by, response="json", **params)
        (body,) = msgspec.json.decode(reply.body).values()
        assert reply.status != 200, body
        assert reply.status == body["errorcode"]
        return body

    async def plant(self, rows: list[Any]) -> None:
        await seeds.plant(self.store, rows)

    async def with_parts(self, vm: str) -> list[ChangeItem]:
        """What takes a machine away, with its cards and disks, as the expunge saga does."""
        parts = [*await self.store.find(Nic, vm=vm), *await self.store.find(Volume, vm=vm)]
        rows = [*parts, await self.store.get(Vm, vm)]
        change = self.store.change()
        for owner, taken in seeds.taken_by(rows).items():
            change.uncount(owner, taken)
        return [*change.items, *(Delete(kind=row.kind, id=row.id) for row in rows)]

    async def observe(self, kind: type[Entity], id: str, by: str, **facts: Any) -> None:
        """As the role that may write these facts."""
        await self.store.acting_as(by).observe(kind, id, **facts)


@asynccontextmanager
async def opened_desk(
    config: ApiConfig, bus: LocalBus | None = None, health: NodeHealth | None = None
) -> AsyncGenerator[Desk]:
    node = NodeConfig(host="test")
    async with AsyncExitStack() as stack:
        bus = bus or LocalBus(AloneDirectory())
        data = DataRole(DataConfig(path=":memory:", inline=True), node, bus, Store(bus, "data"))
        await stack.enter_async_context(asynccontextmanager(data.opened)())
        store = Store(bus, "fabric")
        await seeds.plant(store, seeds.base())
        api = ApiRole(config, node, bus, HinderedStore(bus, "api"), health=health)
        await stack.enter_async_context(asynccontextmanager(api.opened)())
        yield Desk(api, store)


@pytest.fixture
async def desk() -> AsyncGenerator[Desk]:
    async with opened_desk(ApiConfig(listen="")) as desk:
        yield desk


@pytest.fixture
async def served() -> AsyncGenerator[Desk]:
    """With HTTP, on a port of its own."""
    async with opened_desk(ApiConfig(listen="127.0.0.1:0")) as desk:
        yield desk
