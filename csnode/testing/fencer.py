"""The suite of the fencer interface: every fencer that can prove anything passes it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from csnode.drivers.fencer import OFF, ON, Fencer
from csnode.faults import Refused, Unavailable


class FencerSuite(ABC):
    """Subclass it, and give it a fencer and a look at what it switches."""

    @pytest.fixture
    @abstractmethod
    def fencer(self) -> Fencer:
        """Yield the fencer of a host that is on."""

    @abstractmethod
    def is_on(self) -> bool:
        """Tell whether the host of the fencer really has power."""

    @abstractmethod
    def break_it(self) -> None:
        """Break the switch: it does nothing from now on, and says so or says nothing."""

    async def test_a_fenced_host_is_off(self, fencer: Fencer) -> None:
        assert self.is_on()
        assert await fencer.power() == ON
        assert await fencer.fence()
        assert not self.is_on()
        assert await fencer.power() == OFF

    async def test_fencing_twice_is_fencing_once(self, fencer: Fencer) -> None:
        await fencer.fence()
        await fencer.fence()
        assert not self.is_on()

    async def test_a_host_that_was_switched_on_again_is_on(self, fencer: Fencer) -> None:
        await fencer.fence()
        await fencer.restore()
        await fencer.restore()
        assert self.is_on()
        assert await fencer.power() == ON

    async def test_without_certainty_it_raises(self, fencer: Fencer) -> None:
        self.break_it()
        with pytest.raises((Refused, Unavailable)):
            await fencer.fence()
        assert self.is_on()
