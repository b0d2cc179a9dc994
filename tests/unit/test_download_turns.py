"""Who downloads next: accounts share the turns of a pool, and are told whom they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from csnode.types import AccountId, TemplateId
from roles.storage.drivers.turns import Turns


class Downloads:
    """Downloads that last until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.running = turns, set[str]()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, *names: str) -> None:
        """Named a1, a2, b1: an account's letter, and which."""
        for name in names:
            self._tasks[name] = asyncio.create_task(self._one(name))
        await settled()

    async def end(self, name: str) -> None:
        self._tasks.pop(name).cancel()
        await settled()

    async def _one(self, name: str) -> None:
        async with self.turns.taken(TemplateId(name), AccountId(name[0])):
            self.running.add(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.running.discard(name)

    def waits(self, name: str) -> str:
        return self.turns.waits(TemplateId(name))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def downloads(at_once: int, of_one: int) -> AsyncGenerator[Downloads]:
    made = Downloads(Turns(at_once, of_one))
    yield made
    for name in tuple(made._tasks):
        await made.end(name)
    assert not made.running
    assert not made.turns._running
    assert not made.turns._waiting


async def test_an_account_has_its_share_and_no_more() -> None:
    async with downloads(3, 2) as those:
        await those.start("a1", "a2", "a3", "a4")
        assert those.running == {"a1", "a2"}
        await those.start("b1")
        assert those.running == {"a1", "a2", "b1"}
        await those.start("c1", "b2")
        await those.end("a1")
        assert those.running == {"a2", "b1", "c1"}  # it has none; a3 came first and has one
        await those.end("a2")
        assert those.running == {"b1", "c1", "a3"}


async def test_a_download_that_waits_says_whom_it_waits_for() -> None:
    async with downloads(3, 2) as those:
        await those.start("a1", "a2", "a3", "b1", "c1")
        assert those.waits("a1") == ""
        assert those.waits("a3") == (
            "Waiting: 2 downloads of this account come first, of templates a1, a2"
        )
        assert those.waits("c1") == (
            "Waiting: 3 downloads are under way, 0 of them of this account"
        )
        assert "a1" not in those.waits("c1")  # what others fetch is not its business


async def test_one_that_gives_up_waiting_leaves_its_place() -> None:
    async with downloads(1, 1) as those:
        await those.start("a1", "b1", "c1")
        await those.end("b1")
        await those.end("a1")
        assert those.running == {"c1"}
