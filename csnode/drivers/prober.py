"""The prober interface: whether a machine answers at all, whatever runs on it."""

from __future__ import annotations

from abc import abstractmethod

from csnode.drivers.driver import Driver


class Prober(Driver):
    """Asks addresses for an echo. Its seat is the machine that asks."""

    @abstractmethod
    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """Ask; return the addresses that answer within a second. Unavailable if it cannot ask."""
