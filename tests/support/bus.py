"""A bus that keeps something from the process behind it, for tests of what that process does."""

from __future__ import annotations

from typing import Any, cast

from csnode.bus.bus import Bus
from csnode.bus.event import Event


class DeafBus:
    """Delivers no event of one kind, and all else as the real bus does."""

    def __init__(self, bus: Bus, deaf_to: type[Event]) -> None:
        self._bus, self._deaf_to = bus, deaf_to

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def subscribe(self, kind: type[Event], handler: Any, topic: str = "") -> None:
        if kind is not self._deaf_to:
            self._bus.subscribe(kind, handler, topic)


def deaf(bus: Bus, to: type[Event]) -> Bus:
    """The bus, without events of that kind."""
    return cast("Bus", DeafBus(bus, to))
