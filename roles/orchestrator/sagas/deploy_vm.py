"""Deploy: a machine that was only a record gets its parts, and runs."""

from __future__ import annotations

from csnode.contracts.compute import Compute
from csnode.model.machine import Disk, Plug
from csnode.model.orders import DeployVm
from csnode.model.telling import domain_of
from csnode.model.vm import Vm, Want
from csnode.saga.saga import step
from csnode.types import HostId, Power
from roles.orchestrator.networks import drop_unfinished
from roles.orchestrator.remains import give_back
from roles.orchestrator.starting import StartingSaga


class Deploy(StartingSaga[DeployVm]):
    """Ends with the machine running, or with nothing of it but its record, which says why."""

    event = "VM.CREATE"

    @step
    async def host(self) -> HostId | None:
        return await self.reserve() if self.order.start else None

    @host.undo
    async def free_host(self) -> None:
        await self.unreserve()

    @step
    async def disks(self) -> tuple[Disk, ...]:
        return await self.ensure_disks(self.host) if self.host else ()

    @disks.undo
    async def erase_disks(self) -> None:
        await self.drop_disks()

    @step
    async def routers(self) -> None:
        if self.host:
            await self.ensure_networks(self.host)

    @routers.undo
    async def drop_routers(self) -> None:
        for nic in await self.nics():
            await drop_unfinished(self, nic.network, self.host)

    @step
    async def leases(self) -> None:
        if self.host:
            await self.ensure_leases()

    @leases.undo
    async def end_leases(self) -> None:
        await self.drop_leases()

    @step
    async def plugs(self) -> tuple[Plug, ...]:
        return await self.ensure_plugs(self.host) if self.host else ()

    @step
    async def power(self) -> Power:
        if not self.host:
            return Power.ABSENT
        domain = domain_of(await self.vm(), self.disks, self.plugs)
        return await self.ask(Compute, at=self.host).ensure_running(domain)

    @power.undo
    async def end_domain(self) -> None:
        await self.drop_domain()

    async def succeeded(self) -> None:
        if self.order.start:
            self.change.update(Vm, self.order.vm, started=True, trouble="")

    async def failed(self, why: str) -> None:
        vm = await self.vm()
        self.change.update(Vm, vm.id, trouble=why)
        await give_back(self, vm)
        await self.wants_again(vm, Want.RUNNING, Want.STOPPED)
