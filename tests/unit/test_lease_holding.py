"""What a holder may believe of a lease, whatever its backend says, and when."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from csnode.clock import now
from csnode.faults import Conflict, Unavailable
from csnode.lease.lease import BELIEVED, Endings, Held, holding
from csnode.testing.loop import simulate

SECONDS = 12.0


class Grip:
    """A backend that does as the test has it do."""

    def __init__(self) -> None:
        self.took = self.gave = 0
        self.renewed: list[float] = []
        self.answer: Callable[[], Awaitable[None]] = self._well

    async def _well(self) -> None:
        pass

    async def take(self) -> int:
        self.took += 1
        return 7

    async def renew(self) -> None:
        self.renewed.append(now())
        await self.answer()

    async def give(self) -> None:
        self.gave += 1


def played(story: Callable[[Grip], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await story(Grip())

    return simulate(whole())


def test_a_lease_that_is_renewed_is_ours_as_long_as_the_block_runs() -> None:
    async def story(grip: Grip) -> None:
        began = now()
        async with holding("l", grip, SECONDS) as held:
            assert (held.name, held.fence, held.until) == ("l", 7, began + SECONDS * BELIEVED)
            for _ in range(98):
                await asyncio.sleep(1)
                assert held.ours
            assert len(grip.renewed) == 98 // 4  # each third of its time
            assert grip.gave == 0
        assert (grip.took, grip.gave) == (1, 1)
        await asyncio.sleep(60)
        assert len(grip.renewed) == 98 // 4  # nobody renews it now

    played(story)


def test_time_counts_from_before_the_lease_was_asked_for() -> None:
    """A backend that was slow to answer has counted from when it heard."""

    async def story(grip: Grip) -> None:
        async def slow() -> int:
            await asyncio.sleep(3)
            return 7

        grip.take = slow  # type: ignore[method-assign]
        began = now()
        async with holding("l", grip, SECONDS) as held:
            assert held.until == began + SECONDS * BELIEVED

    played(story)


def test_a_lease_that_somebody_else_has_is_lost_at_the_next_renewal_and_not_given_back() -> None:
    async def story(grip: Grip) -> None:
        async def taken() -> None:
            raise Conflict("b has it")

        grip.answer = taken
        async with holding("l", grip, SECONDS) as held:
            await held.lost.wait()
            assert not held.ours
            assert len(grip.renewed) == 1
        assert grip.gave == 0

    played(story)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_lease_whose_backend_is_away_is_believed_in_no_longer_than_it_lasts(how: str) -> None:
    async def story(grip: Grip) -> None:
        async def away() -> None:
            if how == "hangs":
                await asyncio.sleep(3600)
            raise Unavailable("nobody says")

        began = now()
        async with holding("l", grip, SECONDS) as held:
            grip.answer = away
            while held.ours:
                await asyncio.sleep(0.1)
                assert now() - began <= SECONDS * BELIEVED + 0.2
            await held.lost.wait()
            assert now() - began < SECONDS
            assert len(grip.renewed) > 2  # it is tried again before
        assert grip.gave == 0

    played(story)


def test_a_backend_that_comes_back_in_time_keeps_the_lease() -> None:
    async def story(grip: Grip) -> None:
        async def twice() -> None:
            if len(grip.renewed) < 3:
                raise Unavailable("nobody says")

        grip.answer = twice
        async with holding("l", grip, SECONDS) as held:
            await asyncio.sleep(5 * SECONDS)
            assert held.ours
            after = [b - a for a, b in zip(grip.renewed[2:], grip.renewed[3:], strict=False)]
            assert min(after) == max(after) == SECONDS / 3  # and is not hurried any more

    played(story)


def test_of_two_renewals_that_are_answered_at_once_the_later_one_counts() -> None:
    """The first was slow, so a second was asked for: the lease lasts from that one on."""

    async def story(grip: Grip) -> None:
        async def slow_at_first() -> None:
            if len(grip.renewed) < 3:
                await asyncio.sleep(7 - now() + began)

        began = now()
        grip.answer = slow_at_first
        async with holding("l", grip, SECONDS) as held:
            await asyncio.sleep(8)
            assert grip.renewed == [began + 4, began + 6]
            assert held.until == began + 6 + SECONDS * BELIEVED
            await asyncio.sleep(4)
            assert grip.renewed[2:] == [began + 6 + SECONDS / 3]

    played(story)


def test_of_two_renewals_that_are_refused_at_once_both_are_heard() -> None:
    """A refusal that nobody looks at is told of as an exception that was never retrieved."""

    async def story(grip: Grip) -> None:
        refused = asyncio.Event()

        async def refuse() -> None:
            await refused.wait()
            raise Conflict("another has it")

        grip.answer = refuse
        unheard: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))
        async with holding("l", grip, SECONDS) as held:
            while len(grip.renewed) < 2:
                await asyncio.sleep(0.1)
            refused.set()
            await held.lost.wait()
        gc.collect()
        assert unheard == []

    played(story)


def test_an_answer_that_comes_after_a_later_ones_takes_nothing_back() -> None:
    async def story(grip: Grip) -> None:
        async def slow_at_first() -> None:
            if len(grip.renewed) == 1:
                await asyncio.sleep(3)

        began = now()
        grip.answer = slow_at_first
        async with holding("l", grip, SECONDS) as held:
            await asyncio.sleep(7.5)
            assert grip.renewed == [began + 4, began + 6]
            assert held.until == began + 6 + SECONDS * BELIEVED

    played(story)


def test_who_slept_through_the_lease_knows_by_the_clock_alone() -> None:
    async def story(grip: Grip) -> None:
        del grip
        held = Held("l", 7, now() + 5)
        assert held.ours
        await asyncio.sleep(5)
        assert not held.ours
        assert not held.lost.is_set()

    played(story)


def test_a_lease_that_is_not_to_be_had_is_not_given_back() -> None:
    async def story(grip: Grip) -> None:
        async def taken() -> int:
            raise Conflict("b has it")

        grip.take = taken  # type: ignore[method-assign]
        with pytest.raises(Conflict):
            async with holding("l", grip, SECONDS):
                raise AssertionError("somebody else has it")
        assert grip.gave == 0

    played(story)


def test_who_cannot_give_a_lease_back_lets_it_run_out() -> None:
    async def story(grip: Grip) -> None:
        async def away() -> None:
            raise Unavailable("nobody hears")

        grip.give = away  # type: ignore[method-assign]
        async with holding("l", grip, SECONDS):
            pass

    played(story)


class OneLease:
    """Leases of a backend with no part in commits."""

    def __init__(self, grip: Grip) -> None:
        self.grip, self.asked = grip, list[tuple[str, str]]()

    def hold(self, name: str, holder: str, seconds: float) -> AbstractAsyncContextManager[Held]:
        self.asked.append((name, holder))
        return holding(name, self.grip, seconds)


def test_those_who_need_one_lease_ended_share_one_hold() -> None:
    """Many jobs had one owner: all are taken over, and the lease is free once all are."""

    async def story(grip: Grip) -> None:
        leases: Any = OneLease(grip)
        endings, done = Endings(leases), list[int]()

        async def takes_over(number: int) -> None:
            async with endings.over("dead", "me"):
                await asyncio.sleep(number)
                assert grip.gave == 0
                done.append(number)

        await asyncio.gather(*(takes_over(n) for n in (1, 2, 3)))
        assert (done, leases.asked, grip.gave) == ([1, 2, 3], [("dead", "me")], 1)
        async with endings.over("dead", "me"):
            pass
        assert (len(leases.asked), grip.gave) == (2, 2)

    played(story)


def test_a_hold_that_was_lost_meanwhile_is_taken_again_for_the_next() -> None:
    async def story(grip: Grip) -> None:
        leases: Any = OneLease(grip)
        endings = Endings(leases)
        async with endings.over("dead", "me"):

            async def taken() -> None:
                raise Conflict("b has it")

            grip.answer = taken
            await asyncio.sleep(30)
            async with endings.over("dead", "me"):
                assert grip.took == 2

    played(story)
