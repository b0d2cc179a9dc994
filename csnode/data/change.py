"""A change: one transaction, built up and then committed; all of it happens, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from csnode.clock import now, wall
from csnode.context import current
from csnode.contracts.data import (
    ChangeItem,
    Commit,
    Committed,
    Count,
    Create,
    Delete,
    Give,
    Take,
    Update,
)
from csnode.data.rows import encoded
from csnode.faults import Unavailable
from csnode.model.entity import Entity
from csnode.model.event import UserEvent
from csnode.model.job import Job
from csnode.model.orders import Order
from csnode.model.since import understood
from csnode.types import AccountId, UserId
from csnode.uuids import new_id

AGAIN_S = 0.1  # between two attempts at a commit
E = TypeVar("E", bound=Entity)


class CommitTarget(Protocol):
    """Where a change goes: the store that made it."""

    role: str
    name: str

    def wire(self) -> int:
        """Return the lowest wire number of the data services there are."""
        ...

    async def get(self, kind: type[E], id: str) -> E:
        """Return the row. Raises NotFound."""
        ...

    async def commit(self, commit: Commit) -> Committed:
        """Send a built commit; see Data.commit for what it raises."""
        ...


class Change:
    """Collects what is to happen; `commit` makes it so."""

    def __init__(self, store: CommitTarget, token: str = "") -> None:
        self._store = store
        self._token = token
        self.items: list[ChangeItem] = []

    async def get(self, kind: type[E], id: str) -> E:
        """Return the row as it is now. Pass its revision to `update` to act on what was read."""
        return await self._store.get(kind, id)

    def create(self, row: E) -> E:
        """Add a new row, with an id chosen by the caller."""
        self.items.append(Create(kind=row.kind, id=row.id, row=encoded(row)))
        return row

    def update(self, kind: type[Entity], id: str, *, revision: int = 0, **columns: Any) -> None:
        """Set new values of some columns; with a revision, only if the row is still at it.

        Raises Conflict if a data service of the version before could not keep them.
        """
        self.items.append(self._update(kind, id, revision, columns))

    def require_first(self, kind: type[Entity], id: str, *, revision: int, **columns: Any) -> None:
        """Update a row before all else: if it has moved on, that is what the commit is refused for.

        Without columns nothing of it changes: then it only proves that the row is as it was read.
        """
        self.items.insert(0, self._update(kind, id, revision, columns))

    def _update(
        self, kind: type[Entity], id: str, revision: int, columns: dict[str, Any]
    ) -> Update:
        taken = understood(kind, columns, self._store.wire)
        return Update(
            kind=kind.kind, id=id, columns=encoded(taken), revision=revision, by=self._store.role
        )

    def delete(self, kind: type[Entity], id: str, *, revision: int = 0) -> None:
        """Delete the row."""
        self.items.append(Delete(kind=kind.kind, id=id, revision=revision))

    def take(
        self,
        range: str,
        owner: str,
        into: tuple[Entity, str] | None = None,
        wish: int | None = None,
    ) -> None:
        """Take the lowest free value of the range; `into` is the row and column it goes to."""
        row, column = into or (None, "")
        self.items.append(
            Take(
                range=range,
                owner=owner,
                kind=row.kind if row else "",
                id=row.id if row else "",
                column=column,
                wish=wish,
            )
        )

    def give(self, owner: str, range: str = "") -> None:
        """Free what the owner took of the range (of all ranges)."""
        self.items.append(Give(owner=owner, range=range))

    def count(self, owner: str, by: dict[str, int], limits: dict[str, int] | None = None) -> None:
        """Add to the owner's tallies, within limits (-1 or absent: none)."""
        self.items.append(Count(owner=owner, by=by, limits=limits or {}))

    def uncount(self, owner: str, by: Mapping[str, int]) -> None:
        """Take from the owner's tallies what it was counted for."""
        self.count(owner, {what: -amount for what, amount in by.items()})

    def alone(self, *ids: str) -> None:
        """Let what is created under these ids share them with nothing: somebody chose them."""
        self.items = [
            replace(item, alone=True) if isinstance(item, Create) and item.id in ids else item
            for item in self.items
        ]

    def order(
        self,
        order: Order,
        *,
        command: str = "",
        account: AccountId | None = None,
        user: UserId | None = None,
        id: str = "",
    ) -> Job:
        """Ask the orchestrator for work, in the same transaction as the intent it serves."""
        return self.create(
            Job(
                id=id or new_id(),
                verb=order.verb(),
                order=msgspec.to_builtins(order),
                needs=order.needs,
                command=command,
                object_kind=order.object_kind,
                object_id=order.object_id,
                account=account,
                user=user,
                trace=current().trace,
                created=wall(),
            )
        )

    def record(self, event: UserEvent) -> None:
        """Record what users are to see in listEvents."""
        self.create(event)

    async def commit(self, within_s: float = 0.0) -> Committed:
        """Commit: durable when this returns. An empty change commits nothing.

        If the data service is away, or leaves without an answer, it is asked again within that
        time: the change needs a token for it, by which it happens once however often it is asked.
        """
        if not self.items:
            return Committed(number=0)
        store = self._store
        commit = Commit(changes=tuple(self.items), token=self._token, by=store.name)
        deadline = now() + (within_s if self._token else 0.0)
        while True:
            try:
                return await store.commit(commit)
            except Unavailable:
                if now() + AGAIN_S > deadline:
                    raise
                await asyncio.sleep(AGAIN_S)
