"""Stop: the machine is off, and its host's capacity is free again."""

from __future__ import annotations

from csnode.contracts.compute import Compute
from csnode.model.orders import StopVm
from csnode.model.vm import Want
from csnode.saga.saga import step
from csnode.types import Power
from roles.orchestrator.machine import MachineSaga


class Stop(MachineSaga[StopVm]):
    """Ends with the machine off. There is nothing to undo: what is off stays off."""

    event = "VM.STOP"

    @step
    async def power(self) -> Power:
        host = await self.host_of(await self.vm())
        if host is None:
            return Power.ABSENT
        return await self.ask(Compute, at=host).ensure_off(self.order.vm, self.order.forced)

    @step
    async def domain(self) -> None:
        """Make the host forget the machine: it may start elsewhere next time."""
        await self.drop_domain()

    @step
    async def capacity(self) -> None:
        await self.release()

    async def failed(self, why: str) -> None:  # noqa: ARG002 (the job says why)
        vm = await self.vm()
        if vm.power is Power.ON:
            await self.wants_again(vm, Want.STOPPED, Want.RUNNING)
