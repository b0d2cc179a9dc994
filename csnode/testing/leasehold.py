"""The suite of the leasehold interface: every keeper of leases passes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from csnode.drivers.leasehold import HostLease, Leasehold
from csnode.faults import NotFound, Unavailable
from csnode.types import HostId

ONE = HostId("11111111-1111-4111-8111-111111111111")
TWO = HostId("22222222-2222-4222-8222-222222222222")
Reach = Callable[[HostId], AbstractAsyncContextManager[Leasehold]]


def lease(count: int, host: HostId = ONE, guarding: bool = True) -> HostLease:
    """Return what that host's keeper might write."""
    return HostLease(
        host=host, epoch="abcdefghijkl", count=count, guarding=guarding, armed=False,
        stale_seconds=15.0,
    )  # fmt: skip


class LeaseholdSuite(ABC):
    """Subclass it, and give it one pool as two hosts reach it."""

    @pytest.fixture
    @abstractmethod
    def reach(self) -> Reach:
        """Return how the host of an id reaches the pool."""

    @abstractmethod
    def lose(self, host: HostId) -> None:
        """Make the pool fail for that host from now on."""

    async def test_what_one_host_writes_another_reads(self, reach: Reach) -> None:
        async with reach(ONE) as here, reach(TWO) as there:
            for count in (1, 2, 2_000_000_000_000):
                await here.write(lease(count))
                assert (await there.read(ONE)).lease == lease(count)
            await here.write(lease(3, guarding=False))
            assert (await there.read(ONE)).lease == lease(3, guarding=False)

    async def test_each_host_has_its_own(self, reach: Reach) -> None:
        async with reach(ONE) as here, reach(TWO) as there:
            await here.write(lease(5))
            await there.write(lease(7, TWO))
            assert (await there.read(ONE)).lease == lease(5)
            assert (await here.read(TWO)).lease == lease(7, TWO)

    async def test_the_mark_is_another_after_each_writing_and_the_same_without(
        self, reach: Reach
    ) -> None:
        async with reach(ONE) as here, reach(TWO) as there:
            await here.write(lease(1))
            first = await there.read(ONE)
            assert await there.read(ONE) == first
            await here.write(lease(2))
            assert (await there.read(ONE)).mark != first.mark

    async def test_a_host_that_never_wrote_has_none(self, reach: Reach) -> None:
        async with reach(ONE) as here:
            await here.write(lease(1))
            with pytest.raises(NotFound):
                await here.read(TWO)

    async def test_it_outlives_its_keeper(self, reach: Reach) -> None:
        async with reach(ONE) as here:
            await here.write(lease(9))
        async with reach(ONE) as again, reach(TWO) as there:
            assert (await there.read(ONE)).lease == lease(9)
            await again.write(lease(1))
            assert (await there.read(ONE)).lease == lease(1)

    async def test_a_pool_that_fails_for_one_host_is_said_to_and_stays_for_the_other(
        self, reach: Reach
    ) -> None:
        async with reach(ONE) as here, reach(TWO) as there:
            await here.write(lease(1))
            await there.write(lease(1, TWO))
            self.lose(ONE)
            with pytest.raises(Unavailable):
                await here.write(lease(2))
            with pytest.raises(Unavailable):
                await here.read(TWO)
            assert (await there.read(ONE)).lease == lease(1)
            await there.write(lease(2, TWO))

    async def test_it_covers_disks_under_its_folder_only(self, reach: Reach) -> None:
        async with reach(ONE) as here:
            folder = here.seat.folder
            assert here.covers(f"{folder}/volumes/a.qcow2")
            assert not here.covers(f"{folder}2/volumes/a.qcow2")
            assert not here.covers("/elsewhere/volumes/a.qcow2")
            assert not here.covers("")
