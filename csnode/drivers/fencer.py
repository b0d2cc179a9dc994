"""The fencer interface: power over one host, and proof that it is off.

Before a machine of a silent host starts elsewhere, somebody must know that it does not run there
any more. A fencer that is not certain raises: to wait is always safe.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from csnode.drivers.driver import Driver


class Fencer(Driver):
    """What every fencer can do. Its seat is the host's: id, name and address."""

    secrets: ClassVar[frozenset[str]] = frozenset()  # options that are never shown

    @abstractmethod
    async def fence(self) -> str:
        """Switch the host off, and make sure of it; one that is off is left so.

        Answers how it is known, for people. Refused if it cannot be done this way, Unavailable
        if asking again may help.
        """

    @abstractmethod
    async def power(self) -> str:
        """Whether it is "on" or "off"; "" if the fencer cannot tell."""

    @abstractmethod
    async def restore(self) -> None:
        """Switch the host on; one that is on is left so. Refused if it cannot be done this way."""
