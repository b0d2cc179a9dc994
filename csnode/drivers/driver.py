"""What every driver is: a thing to enter, use and leave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec

from csnode.faults import Invalid
from csnode.types import Struct


class Seat(Struct):
    """Where a driver sits: the host or pool it works for, and a folder of its own."""

    id: str  # HostId or PoolId
    name: str
    address: str  # of the host; of a pool: the id of its host, empty if several machines serve it
    folder: str
    machine: str = ""  # that it is on, by name; where an id may have several seats


class NoOptions(Struct, forbid_unknown_fields=True):
    """For drivers that need none."""


class Driver(ABC):
    """Makes one thing so on the outside; what to do next is the saga's business.

    A driver raises Faults only: Refused when the outside said no for good, Unavailable when
    asking again may help, Full when there is no room. It never blocks the loop. `options_type`
    says what its `[role.options]` table may hold.
    """

    options_type: ClassVar[type[Struct]] = NoOptions

    def __init__(self, options: Mapping[str, Any], seat: Seat) -> None:
        self.seat = seat
        try:
            self.options: Any = msgspec.convert(dict(options), self.options_type)
        except msgspec.ValidationError as error:
            raise Invalid(f"options of driver {type(self).__name__}: {error}") from error

    @classmethod
    async def tried(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """Try out on this machine what the driver needs of it, for `csnode doctor`.

        By what was tried, what went wrong; "" if nothing did. Nothing is left of the trial.
        """
        del options
        return {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what was made in place: guests and networks outlive the process."""


class Simulated(ABC):
    """Inherited by drivers whose outside is memory: a virtual world begins with empty hardware."""

    @classmethod
    @abstractmethod
    def forget_outside(cls) -> None:
        """Forget all simulated hardware of this kind."""
