"""Start: a stopped machine runs again, on a host that reaches its disks."""

from __future__ import annotations

from csnode.contracts.compute import Compute
from csnode.faults import Conflict
from csnode.model.machine import Disk, Plug
from csnode.model.orders import StartVm
from csnode.model.telling import domain_of
from csnode.model.vm import Vm, Want
from csnode.saga.saga import step
from csnode.types import HostId, Power
from roles.orchestrator.networks import drop_unfinished
from roles.orchestrator.remains import give_back
from roles.orchestrator.starting import StartingSaga


class Start(StartingSaga[StartVm]):
    """Ends with the machine running, or stopped as it was: its disks are never touched."""

    event = "VM.START"

    @step
    async def found(self) -> HostId | None:
        """Find the host that has the machine: one before us in its queue may have started it.

        Then it is as it should be, and stays so if we fail.
        """
        if "host" in self.job.started:  # by a csnode that did not ask: what it finds is its own
            return None
        vm = await self.vm()
        if vm.given_back:
            raise Conflict(
                f"machine {vm.name} holds no address and no place within its account's limits, and "
                "an api of an earlier version took none for it. Start it again"
            )
        return vm.host

    @step
    async def host(self) -> HostId:
        return await self.reserve()

    @host.undo
    async def free_host(self) -> None:
        if not self._was_there:
            await self.unreserve()

    @step
    async def disks(self) -> tuple[Disk, ...]:
        return await self.ensure_disks(self.host)

    @disks.undo
    async def drop_new_disks(self) -> None:
        """Drop the disks of a machine that never ran, and so has nothing on them.

        The next start is free to have them in another pool.
        """
        if not self._was_there and not (await self.vm()).started:
            await self.drop_disks()

    @step
    async def routers(self) -> None:
        await self.ensure_networks(self.host)

    @routers.undo
    async def drop_routers(self) -> None:
        for nic in await self.nics():
            await drop_unfinished(self, nic.network, self.host)

    @step
    async def leases(self) -> None:
        await self.ensure_leases()

    @leases.undo
    async def end_leases(self) -> None:
        """End leases of a machine that never ran: its next start may find them another's."""
        if not self._was_there and not (await self.vm()).started:
            await self.drop_leases()

    @step
    async def plugs(self) -> tuple[Plug, ...]:
        return await self.ensure_plugs(self.host)

    @step
    async def power(self) -> Power:
        domain = domain_of(await self.vm(), self.disks, self.plugs)
        return await self.ask(Compute, at=self.host).ensure_running(domain)

    @power.undo
    async def end_domain(self) -> None:
        if not self._was_there:
            await self.drop_domain()

    @property
    def _was_there(self) -> bool:
        return self.results.get("found") is not None

    async def succeeded(self) -> None:
        self.change.update(Vm, self.order.vm, started=True, trouble="")

    async def failed(self, why: str) -> None:
        vm = await self.vm()
        if vm.host is not None:  # it was found running, and still is, or its host's end is told
            return
        if vm.trouble or (self.order.ha and vm.started):  # in Error, or tried again: it says why
            self.change.update(Vm, vm.id, trouble=why)
            await give_back(self, vm)
        if not self.order.ha:
            await self.wants_again(vm, Want.RUNNING, Want.STOPPED)
