"""Leases kept by the data service: rows of the kind `lease`, and a part of any commit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from csnode.context import acting
from csnode.contracts.data import Commit, Data, Hold
from csnode.lease.lease import Held, holding


class StoredLeases:
    """The default: no server of its own, and `ended` is proved by the commit itself."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def hold(self, name: str, holder: str, seconds: float) -> AbstractAsyncContextManager[Held]:
        return holding(name, _Row(self._data, name, holder, seconds), seconds)

    @asynccontextmanager
    async def ended(self, name: str, by: str) -> AsyncGenerator[tuple[Hold, ...]]:
        """Yield a hold of no time: it proves that the lease ran out, and makes its renewal fail."""
        yield (Hold(name=name, holder=by, seconds=0.0),)

    async def held(self, prefix: str) -> Collection[str]:
        del prefix
        return ()


class _Row:
    """One hold, by commits."""

    def __init__(self, data: Data, name: str, holder: str, seconds: float) -> None:
        self._data, self._name, self._holder, self._seconds = data, name, holder, seconds
        self._fence = 0

    async def take(self) -> int:
        self._fence = await self._hold(self._seconds)
        return self._fence

    async def renew(self) -> None:
        await self._hold(self._seconds)

    async def give(self) -> None:
        await self._hold(0.0)

    async def _hold(self, seconds: float) -> int:
        hold = Hold(name=self._name, holder=self._holder, seconds=seconds, fence=self._fence)
        with acting(trace="", caller=self._holder):
            return (await self._data.commit(Commit(changes=(hold,)))).got[0]
