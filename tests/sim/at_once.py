"""Requests that are made at once, in the strictest sense: each has read before any has committed.

In virtual time a request mostly runs to its end before the next begins. Here the data service is
held back until every request has sent its commit, or was answered without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from csnode.contracts.data import Commit, Committed
from csnode.testing.cloud import SimCloud

Answer = tuple[int, dict[str, Any]]


class Gate:
    """Lets the apis' commits through once as many have come as requests are still unanswered."""

    def __init__(self, cloud: SimCloud, requests: int) -> None:
        self._data = cloud.role("data")
        self._commit = self._data.commit
        self._missing = requests
        self._open = asyncio.Event()

    def __enter__(self) -> Gate:
        self._data.commit = self._held
        return self

    def __exit__(self, *_: object) -> None:
        self._data.commit = self._commit
        self._open.set()

    def one_less(self) -> None:
        """A request has sent its commit, or was answered without one."""
        self._missing -= 1
        if self._missing <= 0:
            self._open.set()

    async def _held(self, commit: Commit) -> Committed:
        if commit.by.startswith("api@") and not self._open.is_set():
            self.one_less()
            await self._open.wait()
        return await self._commit(commit)


async def at_once(cloud: SimCloud, *requests: Coroutine[Any, Any, Answer]) -> list[Answer]:
    """Their answers, in the order given; commits arrive in that order too, as far as they can."""
    with Gate(cloud, len(requests)) as gate:

        async def asked(request: Coroutine[Any, Any, Answer]) -> Answer:
            answer = await request
            gate.one_less()
            return answer

        return list(await asyncio.gather(*map(asked, requests)))
