"""Expunge: nothing is left of a destroyed machine."""

from __future__ import annotations

from csnode.faults import Gone
from csnode.model.orders import ExpungeVm
from csnode.model.vm import Vm, Want
from csnode.saga.saga import step
from roles.orchestrator.machine import MachineSaga
from roles.orchestrator.remains import erase_records


class Expunge(MachineSaga[ExpungeVm]):
    """Takes away whatever a failure may have left, domain and capacity included."""

    event = "VM.EXPUNGE"

    @step
    async def domain(self) -> None:
        try:
            await self.drop_domain()
        except Gone:
            return

    @step
    async def capacity(self) -> None:
        await self.release()

    @step
    async def leases(self) -> None:
        await self.drop_leases()

    @step
    async def disks(self) -> None:
        await self.drop_disks()

    async def succeeded(self) -> None:
        await erase_records(self)

    async def failed(self, why: str) -> None:
        self.change.update(Vm, self.order.vm, want=Want.DESTROYED, trouble=why)
