"""Turns: a flood from one address, or for one name, costs the others one piece of work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from csnode.api.turns import Turns
from csnode.faults import Unavailable


class Work:
    """Pieces that end when they are let go, and the order in which they were taken."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.done, self.gate = turns, list[str](), threading.Semaphore(0)

    async def ask(self, address: str, name: str = "") -> asyncio.Task[None]:
        """Ask for a piece; it waits, or runs, when this returns."""

        def piece() -> None:
            assert self.gate.acquire(timeout=30)
            self.done.append(f"{address}{name}")

        task = asyncio.create_task(self.turns.take(address, name, piece))
        await asyncio.sleep(0)
        return task

    async def finish(self, *tasks: asyncio.Task[None]) -> list[BaseException | None]:
        self.gate.release(len(tasks))
        return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_flood_of_one_address_costs_another_one_piece() -> None:
    async def story() -> None:
        work = Work(Turns("tests", 1, 100))
        tasks = [await work.ask("evil") for _ in range(50)]
        tasks += [await work.ask("good") for _ in range(2)]
        assert await work.finish(*tasks) == [None] * 52
        assert work.done.index("good") <= 2
        assert work.done[:5].count("good") == 2

    asyncio.run(story())


def test_a_flood_for_one_name_costs_another_name_at_its_address_one_piece() -> None:
    async def story() -> None:
        work = Work(Turns("tests", 1, 8))
        tasks = [await work.ask("nat", "victim") for _ in range(30)]
        mine = await work.ask("nat", "admin")
        told = await work.finish(*tasks, mine)
        refused = [fault for fault in told if isinstance(fault, Unavailable)]
        assert told[-1] is None
        assert work.done.index("natadmin") <= 2
        assert len(refused) == 22  # one ran and eight waited, of which one made room
        assert {(fault.code, fault.retry) for fault in refused} == {(429, True)}
        assert "please try again" in refused[0].message

    asyncio.run(story())


def test_what_waits_is_bounded_for_all_addresses_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csnode.api.turns.ALL_MAX", 10)

    async def story() -> None:
        work = Work(Turns("tests", 1, 8))
        tasks = [await work.ask("evil") for _ in range(9)]
        tasks += [await work.ask(f"good{n}") for n in range(6)]
        assert work.turns.waiting == 10
        told = await work.finish(*tasks)
        assert [str(fault) for fault in told if fault is not None] != []
        assert all(told[9 + n] is None for n in range(6)), told

    asyncio.run(story())


def test_many_addresses_with_one_piece_each_take_nobodys_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("csnode.api.turns.ALL_MAX", 10)

    async def story() -> None:
        work = Work(Turns("tests", 1, 8))
        tasks = [await work.ask("running"), await work.ask("good")]
        tasks += [await work.ask(f"evil{n}") for n in range(30)]
        assert work.turns.waiting == 10
        told = await work.finish(*tasks)
        assert told[:11] == [None] * 11
        assert all(isinstance(fault, Unavailable) for fault in told[11:])
        assert work.done[1] == "good"

    asyncio.run(story())


def test_many_names_at_one_address_take_no_other_names_place() -> None:
    async def story() -> None:
        work = Work(Turns("tests", 1, 8))
        tasks = [await work.ask("nat", "running"), await work.ask("nat", "admin")]
        tasks += [await work.ask("nat", f"evil{n}") for n in range(30)]
        told = await work.finish(*tasks)
        assert told[:9] == [None] * 9
        assert all(isinstance(fault, Unavailable) for fault in told[9:])

    asyncio.run(story())


def test_a_piece_that_nobody_waits_for_any_more_gives_its_turn_on() -> None:
    async def story() -> None:
        work = Work(Turns("tests", 1, 8))
        first, gone, last = [await work.ask("a", str(n)) for n in range(3)]
        gone.cancel()
        told = await work.finish(first, gone, last)
        assert isinstance(told[1], asyncio.CancelledError)
        assert work.done == ["a0", "a2"]
        assert work.turns.waiting == 0
        again = await work.ask("a", "again")
        assert await work.finish(again) == [None]

    asyncio.run(story())


def test_a_piece_that_fails_gives_its_turn_on() -> None:
    async def story() -> None:
        turns = Turns("tests", 1, 8)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await turns.take("a", "", lambda: 1 // 0)
        assert await turns.take("a", "", lambda: 7) == 7

    asyncio.run(story())
