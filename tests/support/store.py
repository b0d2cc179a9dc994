"""A store between a role and the data service, for tests of what goes wrong between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from csnode.contracts.data import Commit, Committed
from csnode.data.store import Store
from csnode.faults import Fault

Hindrance = Callable[[Commit], Awaitable[None]]


class HinderedStore(Store):
    """Awaits a test's hindrance before each commit, which may raise, or write something first."""

    _hindrance: Hindrance | None = None

    def hinder(self, hindrance: Hindrance) -> None:
        """Have every later commit wait for it."""
        self._hindrance = hindrance

    def refuse(self, *faults: Fault) -> list[Fault]:
        """Refuse the next commits by these, in turn. Returns those that are still to be raised."""
        left = list(faults)

        async def refusing(_: Commit) -> None:
            if left:
                raise left.pop(0)

        self.hinder(refusing)
        return left

    async def commit(self, commit: Commit) -> Committed:
        if self._hindrance is not None:
            await self._hindrance(commit)
        return await super().commit(commit)
