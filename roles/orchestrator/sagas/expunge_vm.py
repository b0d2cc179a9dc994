"""Expunge: nothing is left of a destroyed machine."""

from __future__ import annotations

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
        await self.drop_domain()

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
        vm = await self.vm()
        self.change.update(Vm, vm.id, trouble=why)
        await self.wants_again(vm, Want.GONE, Want.DESTROYED)
