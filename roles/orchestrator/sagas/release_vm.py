"""Release: a machine lets go of a host that is proven off; one to be kept running starts anew."""

from __future__ import annotations

from csnode.clock import wall
from csnode.model.event import EventLevel, UserEvent
from csnode.model.host import Host
from csnode.model.offering import Offering
from csnode.model.orders import ReleaseVm, StartVm
from csnode.model.vm import Vm, Want, is_kept
from csnode.saga.saga import step
from csnode.types import HostId
from csnode.uuids import new_id
from roles.orchestrator.machine import MachineSaga
from roles.orchestrator.networks import can_be_asked


class Release(MachineSaga[ReleaseVm]):
    """Ends with the machine on no host, or where it was if that is not off."""

    @step
    async def host(self) -> HostId | None:
        """Find the host that is off and had the machine; None if that has got hold of another."""
        vm = await self.vm()
        if vm.host is not None and await can_be_asked(self, vm.host):
            return None
        for host in vm.may_be_on:
            if not await can_be_asked(self, host):
                return host
        return None

    @step
    async def capacity(self) -> None:
        """Free the capacity; every other host where a domain may be has to deny it as always."""
        if self.host is not None:
            vm = await self.vm()
            await self._clear({*vm.maybe_on, vm.host})
            await self.release(maybe_on=())

    async def succeeded(self) -> None:
        if self.host is None:
            return
        vm = await self.vm()
        if vm.want is not Want.RUNNING:
            return
        if is_kept(vm, self.view.maybe(Offering, vm.offering)):
            self.change.order(StartVm(vm=self.order.vm, ha=True), account=vm.account)
            return
        self.change.update(Vm, vm.id, want=Want.STOPPED)
        host = self.view.maybe(Host, self.host)
        self.change.record(
            UserEvent(
                id=new_id(),
                type="VM.STOP",
                description=f"Host {host.name if host else self.host} failed, and vm {vm.id} "
                "with it",
                level=EventLevel.WARN,
                account=vm.account,
                domain=vm.domain,
                object_kind="vm",
                object_id=vm.id,
                trace=self.job.trace,
                created=wall(),
            )
        )
