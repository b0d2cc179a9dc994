"""Destroy: the machine is off and marked; with expunge, nothing of it is left."""

from __future__ import annotations

from csnode.clock import wall
from csnode.contracts.compute import Compute
from csnode.model.orders import DestroyVm
from csnode.model.vm import Vm, Want
from csnode.saga.saga import step
from csnode.types import Power
from roles.orchestrator.machine import MachineSaga
from roles.orchestrator.remains import erase_records


class Destroy(MachineSaga[DestroyVm]):
    """Goes on from wherever it was interrupted: there is no way back to undo to."""

    event = "VM.DESTROY"

    @step
    async def power(self) -> Power:
        host = await self.host_of(await self.vm())
        if host is None:
            return Power.ABSENT
        return await self.ask(Compute, at=host).ensure_off(self.order.vm, True)

    @step
    async def domain(self) -> None:
        await self.drop_domain()

    @step
    async def capacity(self) -> None:
        await self.release(destroyed=wall())

    @step
    async def leases(self) -> None:
        await self.drop_leases()

    @step
    async def disks(self) -> None:
        if self.order.expunge:
            await self.drop_disks()

    async def succeeded(self) -> None:
        if self.order.expunge:
            await erase_records(self)

    async def failed(self, why: str) -> None:
        vm = await self.vm()
        self.change.update(Vm, vm.id, trouble=why)
        if vm.power is Power.ON:
            await self.wants_again(vm, Want.DESTROYED, Want.RUNNING)
            await self.wants_again(vm, Want.GONE, Want.RUNNING)
        else:
            await self.wants_again(vm, Want.GONE, Want.DESTROYED)
            self.change.update(Vm, vm.id, destroyed=vm.destroyed or wall())
