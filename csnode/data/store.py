"""Every role's door to the data service."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from csnode.bus.bus import Bus
from csnode.context import caller_of
from csnode.contracts.data import Commit, Committed, Data
from csnode.data import pages
from csnode.data.change import Change
from csnode.data.rows import decoded
from csnode.directory.directory import floor, serving
from csnode.lease.lease import Held, Leases
from csnode.lease.stored import StoredLeases
from csnode.model.entity import Entity

E = TypeVar("E", bound=Entity)


class Store:
    """Reads rows, and writes them through changes, in the name of one role."""

    def __init__(
        self, bus: Bus, role: str = "", node: str = "", leases: Leases | None = None
    ) -> None:
        """Make a store; `leases` are the node's ([lease] kind), or else the data service's own."""
        self.bus, self.role, self.node = bus, role, node
        self.name = caller_of(role, node)  # as the feed has it
        self.data = bus.ask(Data)
        self.leases = leases or StoredLeases(self.data)

    def acting_as(self, role: str) -> Store:
        """Return a store of the same rows, for a role that may write its own facts."""
        return Store(self.bus, role, self.node, self.leases)

    def change(self, token: str = "") -> Change:
        """Return a new transaction; the same token twice happens once, and answers the same."""
        return Change(self, token)

    def wire(self) -> int:
        """Return the lowest wire number of the data services: what rows are written by."""
        return floor(serving(self.bus.directory.members(), Data.__name__))

    async def commit(self, commit: Commit) -> Committed:
        """Send a built commit, in this store's name; see Data.commit for what it raises."""
        if not commit.by:
            commit = Commit(changes=commit.changes, token=commit.token, by=self.name)
        return await self.data.commit(commit)

    async def get(self, kind: type[E], id: str) -> E:
        """Return the row. Raises NotFound."""
        return decoded(kind, (await self.data.get(kind.kind, id)).row)

    async def find(self, kind: type[E], **keys: Any) -> list[E]:
        """Find every row whose Keys have these values; a tuple means any of its values."""
        found: list[E] = []
        async for page in pages.rows(self.data, kind.kind, keys):
            found.extend(decoded(kind, row.row) for row in page)
        return found

    async def observe(self, kind: type[Entity], id: str, **facts: Any) -> None:
        """Record what this role saw. The data service refuses another role's facts (Denied)."""
        change = self.change()
        change.update(kind, id, **facts)
        await change.commit()

    def hold(self, name: str, seconds: float) -> AbstractAsyncContextManager[Held]:
        """Hold a lease while the block runs; Conflict if somebody else has it.

        It is renewed in the background; `Held.lost` is set as soon as it may not be ours.
        """
        return self.leases.hold(name, self.node or self.role, seconds)
