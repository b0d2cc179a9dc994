"""Which readings of a clock become the cloud's time, that never goes back."""

from __future__ import annotations

import asyncio
from typing import Any

from csnode.testing.loop import simulate
from roles.data.timekeeper import AHEAD_S, SURE_S, Timekeeper

DATE = 1.8e9
YEARS = 3.2e8


def clocked(story: Any) -> None:
    simulate(story(Timekeeper()))


def test_one_reading_years_ahead_does_not_become_the_time() -> None:
    async def story(keeper: Timekeeper) -> None:
        keeper.time(DATE)
        await asyncio.sleep(1)
        assert keeper.time(DATE + YEARS) < DATE + 2
        await asyncio.sleep(SURE_S)
        assert keeper.time(DATE + 1 + SURE_S) == DATE + 1 + SURE_S
        assert keeper.time(DATE + YEARS) < DATE + 2 + SURE_S  # that is the first one again

    clocked(story)


def test_a_machine_that_slept_for_a_day_is_believed_when_its_clock_goes_on_from_there() -> None:
    async def story(keeper: Timekeeper) -> None:
        keeper.time(DATE)
        for second in range(int(SURE_S) + 10):
            keeper.time(DATE + 86400 + second)
            await asyncio.sleep(1)
        assert keeper.time(DATE + 86400 + SURE_S + 10) == DATE + 86400 + SURE_S + 10

    clocked(story)


def test_a_machine_that_was_off_for_long_is_believed_at_once() -> None:
    async def story(keeper: Timekeeper) -> None:
        keeper.notice(DATE)  # on disk
        assert keeper.time(DATE + 86400) == DATE + 86400
        assert keeper.time(DATE + 86400 + AHEAD_S / 2) == DATE + 86400 + AHEAD_S / 2

    clocked(story)


def test_a_date_given_by_a_clock_that_was_years_ahead_does_not_come_back() -> None:
    """An operator puts the clock right and a backup back; those who were told show their marks."""

    async def story(keeper: Timekeeper) -> None:
        keeper.time(DATE)
        for _ in range(3):
            keeper.hear(DATE + YEARS)
            assert keeper.time(DATE) <= DATE + AHEAD_S
        keeper.notice(DATE + 86400)  # what is on disk counts whatever the clock shows
        assert keeper.time(DATE) == DATE + 86400

    clocked(story)
