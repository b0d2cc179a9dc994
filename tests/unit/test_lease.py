"""How a lease is renewed, whoever keeps it: in virtual time, by a keeper that is slow or silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from csnode.clock import now
from csnode.faults import Conflict, Unavailable
from csnode.lease.lease import BELIEVED, Held, holding
from csnode.testing.loop import simulate

SECONDS = 6.0


class Keeper:
    """Answers each renewal after so many seconds; None: never."""

    def __init__(self, answers: Callable[[int], float | Exception | None]) -> None:
        self._answers = answers
        self.renewals = self.most = self._under_way = 0
        self.given = False

    async def take(self) -> int:
        return 1

    async def renew(self) -> None:
        self.renewals += 1
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            answer = self._answers(self.renewals)
            if isinstance(answer, Exception):
                raise answer
            await asyncio.sleep(1e9 if answer is None else answer)
        finally:
            self._under_way -= 1

    async def give(self) -> None:
        self.given = True


async def held_for(keeper: Keeper, seconds: float) -> Held:
    """Hold a lease for so long, or until it is lost."""
    async with holding("x", keeper, SECONDS) as held:
        try:
            async with asyncio.timeout(seconds):
                await held.lost.wait()
        except TimeoutError:
            assert held.ours
    return held


@pytest.mark.parametrize("slow", [0.0, 0.9, 1.5, 2.9])
def test_a_lease_is_kept_by_renewals_that_are_answered_slowly(slow: float) -> None:
    async def story() -> None:
        keeper = Keeper(lambda _: slow)
        held = await held_for(keeper, 100.0)
        assert not held.lost.is_set()
        assert keeper.given
        assert keeper.most <= 4

    simulate(story())


def test_a_renewal_that_is_never_answered_is_asked_for_again() -> None:
    async def story() -> None:
        keeper = Keeper(lambda n: None if n % 3 else 0.1)
        held = await held_for(keeper, 100.0)
        assert not held.lost.is_set()

    simulate(story())


def test_a_keeper_that_is_away_for_a_while_loses_no_lease() -> None:
    async def story() -> None:
        keeper = Keeper(lambda n: Unavailable("away") if 3 < n < 8 else 0.1)
        held = await held_for(keeper, 100.0)
        assert not held.lost.is_set()

    simulate(story())


def test_a_keeper_that_never_answers_loses_the_lease_before_another_may_have_it() -> None:
    async def story() -> None:
        keeper = Keeper(lambda _: None)
        began = now()
        held = await held_for(keeper, 100.0)
        assert held.lost.is_set()
        assert now() - began == pytest.approx(SECONDS * BELIEVED)
        assert not held.ours
        assert not keeper.given

    simulate(story())


def test_a_lease_that_is_anothers_is_lost_at_once() -> None:
    async def story() -> None:
        keeper = Keeper(lambda n: Conflict("lost") if n == 2 else 0.1)
        held = await held_for(keeper, 100.0)
        assert held.lost.is_set()
        assert keeper.renewals == 2
        assert not keeper.given

    simulate(story())


def test_a_lease_counts_from_when_its_renewal_was_asked_for() -> None:
    """By its keeper's clock it began no earlier than that."""

    async def story() -> None:
        keeper = Keeper(lambda n: 2.0 if n == 1 else None)
        async with holding("x", keeper, SECONDS) as held:
            began = now()
            await held.lost.wait()
            assert now() - began == pytest.approx(SECONDS / 3 + SECONDS * BELIEVED)

    simulate(story())
