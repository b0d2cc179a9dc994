"""Reboot: the machine starts afresh on the host it is on."""

from __future__ import annotations

from csnode.contracts.compute import Compute
from csnode.faults import Conflict
from csnode.model.orders import RebootVm
from csnode.saga.saga import step
from csnode.types import Power
from roles.orchestrator.machine import MachineSaga


class Reboot(MachineSaga[RebootVm]):
    """Ends with the machine running; if it could not be rebooted, it is as it was."""

    event = "VM.REBOOT"

    @step
    async def power(self) -> Power:
        vm = await self.vm()
        if vm.host is None:
            raise Conflict(f"machine {vm.name} does not run")
        return await self.ask(Compute, at=vm.host).reboot(self.order.vm, self.order.forced)
