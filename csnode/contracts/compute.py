"""What may be asked of the compute role; always at one host."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers, within
from csnode.context import CONTROLLING
from csnode.model.machine import Domain, FoundDomain, HostFacts, Landing, Move
from csnode.types import Power, VmId


@callers("orchestrator")
class Compute(Service, Protocol):
    """Machines of one host. Every verb is idempotent; see csnode.drivers.hypervisor."""

    @callers(*CONTROLLING)
    async def describe(self) -> HostFacts:
        """Return what the host is and how much it has."""
        ...

    @within(seconds=300)
    async def ensure_running(self, domain: Domain) -> Power:
        """Define and start the domain; answer once it runs."""
        ...

    @within(seconds=300)
    async def ensure_off(self, vm: VmId, forced: bool) -> Power:
        """Shut the machine down; by force at once, or after the guest had its time."""
        ...

    @within(seconds=60)
    async def ensure_absent(self, vm: VmId) -> None:
        """Stop and undefine the domain; an absent one is fine."""
        ...

    @within(seconds=60)
    async def reboot(self, vm: VmId, forced: bool) -> Power:
        """Reboot a running machine."""
        ...

    async def ensure_expected(self, vm: VmId) -> Landing:
        """Have a place for a machine that is to be moved to this host, and say what it is like."""
        ...

    @within(seconds=120)
    async def ensure_moved(self, move: Move) -> Power:
        """Move the machine away. ON: it is still on its way, ask again; ABSENT: it is gone from
        here; OFF: it does not run, so it stays."""
        ...

    @within(seconds=60)
    async def cancel_move(self, vm: VmId, stays: bool) -> Power:
        """End a move away from here; the machine's power here after that.

        `stays`: it is known that it does not run where it was to go.
        """
        ...

    @within(seconds=60)
    async def ensure_arrived(self, vm: VmId) -> Power:
        """Return the machine's power here, once no move to this host is under way."""
        ...

    @within(seconds=5)
    async def outdate(self, id: VmId) -> None:
        """Refuse from now on orders about a machine given before this one."""
        ...

    @callers(*CONTROLLING)
    async def survey(self) -> dict[VmId, Power]:
        """Find every machine of csnode's on the host."""
        ...

    @callers(*CONTROLLING)
    async def inspect(self) -> tuple[FoundDomain, ...]:
        """Find every domain of csnode's on the host, with its disks and cards; by rising id."""
        ...

    @callers("orchestrator", "api")
    async def console(self, vm: VmId) -> bytes:
        """Return the last 64 KiB that the guest wrote to its serial console."""
        ...
