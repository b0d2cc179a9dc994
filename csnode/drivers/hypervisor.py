"""The hypervisor interface: what it takes to run machines on one host.

Every verb is idempotent and names its target by an id that csnode chose: asking twice is asking
once, so a lost answer costs nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator

from csnode.drivers.driver import Driver
from csnode.model.machine import Domain, FoundDomain, HostFacts, Landing, Move
from csnode.types import Message, Power, VmId


class Sighting(Message):
    """A machine changed its power by itself or by us."""

    vm: VmId
    power: Power


class Hypervisor(Driver):
    """What every hypervisor can do."""

    @abstractmethod
    async def describe(self) -> HostFacts:
        """Return what the host is and how much it has."""

    @abstractmethod
    async def ensure_running(self, domain: Domain) -> Power:
        """Define and start the domain; leave a running one alone. Answers Power.ON."""

    @abstractmethod
    async def ensure_off(self, vm: VmId, forced: bool) -> Power:
        """Ask the guest to shut down, and end it after a while or at once if forced.

        Answers OFF if it is still defined, ABSENT if the host does not know it.
        """

    @abstractmethod
    async def ensure_absent(self, vm: VmId) -> None:
        """Stop and undefine the domain; an absent one is fine."""

    @abstractmethod
    async def reboot(self, vm: VmId, forced: bool) -> Power:
        """Reboot a running machine; Refused if it does not run."""

    @abstractmethod
    async def ensure_expected(self, vm: VmId) -> Landing:
        """Have a place for a machine that is to be moved to this host, and say what it is like."""

    @abstractmethod
    async def ensure_moved(self, move: Move) -> Power:
        """Move a running machine to another host, as it runs; it stays on here if that fails.

        Answers ABSENT once nothing of it is here (what is there, that host says), OFF if it is
        here and does not run. It may take hours. A move that is under way already is joined; it
        goes on if whoever asked dies. Raises Conflict if it was cancelled.
        """

    @abstractmethod
    async def cancel_move(self, vm: VmId, stays: bool) -> Power:
        """End a move away from here that is under way; the machine's power here after that.

        ABSENT: the cancel came too late, or it was never here. A move that broke at its very end
        may leave the machine halted in mid-air here, and running there; one that `stays` is known
        not to run there, and is made to go on.
        """

    @abstractmethod
    async def ensure_arrived(self, vm: VmId) -> Power:
        """Return the machine's power here, once no move to this host is under way.

        A host that receives a machine may survey it as ON before it has all of it; here one that
        does not go on by itself is ABSENT.
        """

    @abstractmethod
    async def survey(self) -> dict[VmId, Power]:
        """Find every machine of csnode's on the host."""

    @abstractmethod
    async def inspect(self) -> tuple[FoundDomain, ...]:
        """Find every domain of csnode's on the host, with its disks and cards; by rising id."""

    @abstractmethod
    def watch(self) -> AsyncIterator[Sighting]:
        """Yield power changes as they happen; ends when the driver is left.

        A hint: after a lost connection it may have missed some, so its reader surveys too.
        """

    @abstractmethod
    async def console(self, vm: VmId) -> bytes:
        """Return the last 64 KiB that the guest wrote to its serial console."""
