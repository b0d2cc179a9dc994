"""A cloud that lacks one of its two legs: the events that make it fast, or the sweeps that make
it sure. Everything must still come right without the first; nothing can without the second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from unittest.mock import patch

from csnode import node
from csnode.bus.event import Event
from csnode.bus.local import LocalBus


@contextmanager
def without_events() -> Generator[None]:
    """Deliver no event, neither within a process nor between them."""

    def publish(_: LocalBus, __: Event) -> None:
        """Publish to nobody."""

    with patch.object(LocalBus, "publish", publish):
        yield


@contextmanager
def without_sweeps() -> Generator[None]:
    """Let nothing marked @every ever run."""

    async def never(_: str, __: float, ___: Callable[[], Awaitable[None]]) -> None:
        await asyncio.Event().wait()

    with patch.object(node, "repeated", never):
        yield
