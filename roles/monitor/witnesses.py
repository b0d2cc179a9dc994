"""Who can say whether a silent host still answers: keepers of other hosts, and the monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from csnode.bus.bus import Bus
from csnode.clock import now
from csnode.contracts.keeper import Keeper
from csnode.directory.directory import Health, Member, Served
from csnode.drivers.prober import Prober
from csnode.faults import Fault
from csnode.log import logger
from csnode.types import Struct

KEEPERS_MAX = 5  # asked about one host
ANSWER_S = 2.0
KEPT_S = 3.0  # an older answer says nothing of now
ITSELF = "the monitor"
log = logger("monitor")


class Testimony(Struct):
    """What the witnesses said of one host."""

    at: float
    reached_by: tuple[str, ...] = ()
    missed_by: tuple[str, ...] = ()


class Witnesses:
    """Asks many at once, in the background: nobody waits for one that is cut off too."""

    def __init__(self, bus: Bus, prober: Prober) -> None:
        self._bus, self._prober = bus, prober
        self._said: dict[str, Testimony] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def said(self, host: str) -> Testimony | None:
        """Return what was said of the host lately."""
        found = self._said.get(host)
        return found if found is not None and now() - found.at <= KEPT_S else None

    def ask(self, host: str, address: str, members: Sequence[Member]) -> asyncio.Task[None]:
        """Ask anew, unless they are being asked."""
        task = self._asking.get(host)
        if task is None or task.done():
            task = asyncio.create_task(self._ask(host, address, _keepers(host, members)))
            self._asking[host] = task
        return task

    def close(self) -> None:
        """Wait for no answer any more."""
        for task in self._asking.values():
            task.cancel()

    async def _ask(self, host: str, address: str, keepers: dict[str, str]) -> None:
        began = now()
        names = [ITSELF, *keepers.values()]
        answers = await asyncio.gather(
            self._itself(address), *(self._keeper(at, address) for at in keepers)
        )
        said = list(zip(names, answers, strict=True))
        self._said[host] = Testimony(
            at=began,
            reached_by=tuple(name for name, answer in said if answer is True),
            missed_by=tuple(name for name, answer in said if answer is False),
        )

    async def _itself(self, address: str) -> bool | None:
        try:
            return address in await self._prober.reach((address,))
        except Fault as fault:
            log.info("cannot see for itself", address=address, why=fault.message)
            return None

    async def _keeper(self, at: str, address: str) -> bool | None:
        """Ask a keeper; None if it does not say: it may be cut off itself."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return address in await self._bus.ask(Keeper, at=at).reach((address,))
        except (Fault, TimeoutError):
            return None


def _keepers(host: str, members: Sequence[Member]) -> dict[str, str]:
    """Find keepers of other hosts, that are well.

    For each: the host's id, and what people call the machine.
    """
    found = {
        at: member.host
        for member in members
        if member.health is Health.OK
        for served in member.serves
        if served.contract == Served.KEEPER and host not in served.at
        for at in served.at[:1]
    }
    return dict(sorted(found.items())[:KEEPERS_MAX])
