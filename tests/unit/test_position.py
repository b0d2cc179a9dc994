"""How far a view is: numbers in, numbers out."""

from __future__ import annotations

import asyncio

from csnode.data.position import Position

NAMES = ("vm", "lock")


def at(vm: int, lock: int) -> Position:
    """A position after all rows were read at these heads, and what came since was noted."""
    position = Position(NAMES)
    position.restart((vm, lock), NAMES)
    return position


def test_a_position_is_nowhere_before_rows_were_read() -> None:
    position = Position(NAMES)
    assert (position.number, position.lacks((0, 0)), position.lacks((1, 0))) == (0, False, True)


def test_all_kinds_are_known_up_to_the_highest_head_once_rows_were_read() -> None:
    position = at(3, 7)
    assert (position.number, position.heads) == (7, {"vm": 3, "lock": 7})


def test_a_kind_that_lacks_no_entry_is_known_up_to_the_highest_head() -> None:
    position = at(3, 7)
    position.note((3, 9))
    assert (position.done, position.lacks((3, 9))) == ({"vm": 9, "lock": 7}, True)
    position.advance("lock", 9)
    assert (position.number, position.lacks((3, 9))) == (9, False)


def test_a_kind_that_the_data_service_does_not_know_holds_no_number_back() -> None:
    position = Position(NAMES)
    position.kept = ("vm",)
    position.restart((5, 0), position.kept)
    assert (position.number, position.done) == (5, {"vm": 5, "lock": 0})
    position.note((6, 0))
    assert position.done["lock"] == 0, "rows of it are read once it is known"


def test_a_lower_head_than_before_is_another_database() -> None:
    position = at(3, 7)
    assert [position.sank(position.heads, heads) for heads in ((3, 7), (4, 7), (3, 6))] == [
        False,
        False,
        True,
    ]


def test_heads_differ_that_are_beyond_what_is_here_or_below_what_is_known() -> None:
    position = at(3, 7)
    heard = ({"vm": 3, "lock": 7}, {"vm": 7, "lock": 7}, {"vm": 8, "lock": 7}, {"vm": 3})
    assert [position.differs(each) for each in heard] == [False, False, True, True]


async def test_only_those_whose_heads_are_here_are_told() -> None:
    position = at(1, 1)
    near = asyncio.create_task(position.reached((2, 0)))
    far = asyncio.create_task(position.reached((3, 0)))
    await asyncio.sleep(0)
    position.advance("vm", 2)
    position.tell()
    async with asyncio.timeout(15):
        await near
        assert not far.done()
        position.advance("vm", 3)
        position.tell()
        await far


async def test_one_that_gives_up_waiting_takes_no_other_with_it() -> None:
    position = at(1, 1)
    patient, hurried = (asyncio.create_task(position.reached((2, 0))) for _ in range(2))
    await asyncio.sleep(0)
    hurried.cancel()
    await asyncio.gather(hurried, return_exceptions=True)
    position.advance("vm", 2)
    position.tell()
    async with asyncio.timeout(15):
        await patient
