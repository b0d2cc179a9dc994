"""The fencer of who has none: it proves nothing, and says what an operator can do."""

from __future__ import annotations

from csnode.drivers.fencer import Fencer
from csnode.faults import Refused


class ManualFencer(Fencer):
    """An operator's word (declareHostAsDegraded) is the only proof."""

    async def fence(self) -> str:
        raise Refused(
            f"host {self.seat.name} has no fencer: see to it that it is off, then call "
            "declareHostAsDegraded"
        )

    async def power(self) -> str:
        return ""

    async def restore(self) -> None:
        raise Refused(f"host {self.seat.name} has no fencer: switch it on by hand")
