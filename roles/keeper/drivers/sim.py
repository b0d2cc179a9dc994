"""The simulated prober: a virtual world says who reaches whom."""

from __future__ import annotations

from collections.abc import Callable

from csnode.drivers.driver import Simulated
from csnode.drivers.prober import Prober


class SimGround:
    """What lies between machines. By name of the machine that asks, and address of the other."""

    def __init__(self) -> None:
        self.reaches: Callable[[str, str], bool] = lambda _, __: True


_ground = SimGround()


def outside(_: str) -> SimGround:
    """Return the ground, the same for all."""
    return _ground


class SimProber(Prober, Simulated):
    """Answers at once."""

    @classmethod
    def forget_outside(cls) -> None:
        """Let everybody reach everybody."""
        _ground.__init__()

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(a for a in addresses if _ground.reaches(self.seat.name, a))
