"""What a network driver may be able to do beyond its interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from csnode.model.machine import GuestNetwork
from csnode.types import NetworkId


class Remembers(ABC):
    """Inherited by a driver that keeps what it was told, across restarts of the process.

    The role then repairs by itself what broke: it tells the driver again what it was told.
    """

    @abstractmethod
    def told(self) -> Mapping[NetworkId, GuestNetwork]:
        """Return every router that was asked for on this host and not taken back since."""
