"""A data service on a bus of its own, as the suites of csnode.testing.data use it."""

from __future__ import annotations

import asyncio
import shutil
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from csnode.bus.bus import Bus
from csnode.bus.event import Changed, Entry, Event
from csnode.bus.local import LocalBus
from csnode.contracts.data import (
    ChangeItem,
    Commit,
    Committed,
    Create,
    Data,
    Update,
)
from csnode.data.rows import encoded
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Fault
from csnode.model.entity import Entity
from csnode.model.host import Host
from csnode.model.identity import Account
from csnode.model.network import Nic
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.types import (
    AccountId,
    ClusterId,
    DomainId,
    NetworkId,
    OfferingId,
    PodId,
    TemplateId,
    VmId,
    ZoneId,
)

Turn = Callable[[], Awaitable[None]]
ALL = ("vm", "zone", "pod", "lock", "range", "taken", "tally", "lease", "nic", "template")
KEEP = 200_000


class LossyBus(LocalBus):
    """A bus that loses every event while it is deaf, and those of lost topics always.

    While it is old, events do not say what was written along with them, as in the first version.
    """

    deaf = old = False
    lost: Set[str] = frozenset()

    def publish(self, event: Event) -> None:
        if self.old and isinstance(event, Changed):
            event = replace(event, batch=0, along=())
        if not self.deaf and event.topic not in self.lost:
            super().publish(event)


class Cloud:
    """A data service on a bus of its own, as roles see it."""

    def __init__(
        self, serve: Callable[..., AbstractAsyncContextManager[Turn]], state: Path
    ) -> None:
        """Make a cloud; `state` is where the service keeps everything, if it keeps anything."""
        self._serve, self.state = serve, state
        self._opened = AsyncExitStack()
        self.turn: Turn

    async def open(self, **settings: Any) -> None:
        """Start the service, again if it ran already."""
        await self.close()
        self.bus = LossyBus(AloneDirectory())
        self.store = Store(self.bus, "api", "node1")
        self.data = self.bus.ask(Data)
        self.turn = await self._opened.enter_async_context(self._serve(self.bus, **settings))

    async def restart(self) -> None:
        """Close the service, if it runs, and start it; whoever asks it has the same bus."""
        await self.close()
        self.turn = await self._opened.enter_async_context(self._serve(self.bus))

    async def close(self) -> None:
        await self._opened.aclose()

    async def commit(self, *changes: ChangeItem, token: str = "") -> Committed:
        return await self.data.commit(Commit(changes=changes, token=token))

    async def create(self, *rows: Entity) -> None:
        """Create the rows, in one commit."""
        await self.commit(*(created(row) for row in rows))

    async def entries(self, after: int = 0, page: int = 7) -> list[tuple[str, Entry]]:
        """Read the whole feed, in small pages."""
        found: list[tuple[str, Entry]] = []
        while True:
            feed = await self.data.feed(after, ALL, page)
            found.extend(feed.entries)
            if len(feed.entries) < page:
                return found
            after = feed.upto


def created(row: Entity) -> Create:
    """Return the change that makes the row."""
    return Create(kind=row.kind, id=row.id, row=encoded(row))


def updated(kind: type[Entity], id: str, by: str = "api", **columns: Any) -> Update:
    """Return the change that writes those columns, in that role's name."""
    return Update(kind=kind.kind, id=id, columns=encoded(columns), by=by)


def vm(id: str, **columns: Any) -> Vm:
    """Return a machine that refers to nothing, unless the columns say so."""
    nothing: dict[str, Any] = {
        "account": AccountId(""),
        "domain": DomainId(""),
        "zone": ZoneId(""),
        "offering": OfferingId(""),
        "template": TemplateId(""),
    }
    given: dict[str, Any] = {"name": id, "cpus": 1, "memory_mib": 64} | columns
    return Vm(id=id, **(nothing | given))


def account(id: str) -> Account:
    """Return an account of no domain."""
    return Account(id=id, name=id, domain=DomainId(""))


def host(id: str) -> Host:
    """Return a host that is nowhere."""
    nowhere: dict[str, Any] = {"zone": ZoneId(""), "pod": PodId(""), "cluster": ClusterId("")}
    return Host(id=id, name=id, **nowhere)


def template(id: str) -> Template:
    """Return an image nobody fetched yet."""
    return Template(id=id, name=id, account=AccountId(""), domain=DomainId(""))


def nic(id: str) -> Nic:
    """Return a card with no address yet."""
    return Nic(id=id, vm=VmId(""), network=NetworkId(""), mac="02:00:00:00:00:01")


async def outcome(work: Awaitable[Any]) -> type[Fault] | None:
    """Return the kind of fault that the work ended in, if any."""
    try:
        await work
    except Fault as fault:
        return type(fault)
    return None


async def outcomes(*works: Awaitable[Any]) -> Sequence[type[Fault] | None]:
    """Return how all of them ended, begun at once."""
    return await asyncio.gather(*(outcome(work) for work in works))


class Served:
    """Base of the suites."""

    @abstractmethod
    def serving(self, bus: Bus, state: Path, feed_keep: int) -> AbstractAsyncContextManager[Turn]:
        """Run a service over that directory; yields what makes its @every methods take a turn."""

    def keep(self, state: Path) -> None:
        """Make a backup of a service that is closed."""
        shutil.copytree(state, state.parent / "backup")

    def bring_back(self, state: Path) -> None:
        """Put the backup in its place."""
        shutil.rmtree(state)
        shutil.copytree(state.parent / "backup", state)

    @pytest.fixture
    async def cloud(self, tmp_path: Path) -> AsyncGenerator[Cloud]:
        """Yield a service with no rows."""

        def serve(bus: Bus, feed_keep: int = KEEP) -> AbstractAsyncContextManager[Turn]:
            return self.serving(bus, state, feed_keep)

        state = tmp_path / "state"
        cloud = Cloud(serve, state)
        await cloud.open()
        yield cloud
        await cloud.close()
