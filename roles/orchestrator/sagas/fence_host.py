"""Fence: a host that seems dead is made sure to be off, and what was on it is let go of."""

from __future__ import annotations

from csnode.clock import wall
from csnode.contracts.fabric import Fabric
from csnode.data.alarm import HA, alarm
from csnode.faults import Conflict, Fault, Stale, Unavailable
from csnode.model.host import Host, Seen
from csnode.model.network import Network
from csnode.model.orders import FenceHost
from csnode.model.vm import Vm
from csnode.saga.saga import Saga, step
from roles.orchestrator.lost import needs_router, order_release, order_router

ORDER_TRIES = 3


class Fence(Saga[FenceHost]):
    """Ends with the host proven off, or with nothing changed: then no machine starts elsewhere.

    There is nothing to undo: a host that was switched off is off.
    """

    event = "HOST.FENCE"

    @step
    async def proof(self) -> str:
        """Fence the host; commit that alone, at the revision read before anybody was asked.

        Had the host come back meanwhile, machines might have started on it, and off is not what it
        is.
        """
        host = await self.store.get(Host, self.order.host)
        if host.fenced:
            return host.fence_proof
        if self.order.word:
            await self._write_down(host, self.order.word)
            return self.order.word
        if host.seen is not Seen.DOWN:
            raise Conflict(f"host {host.name} is {host.seen}: it is not fenced")
        try:
            proof = await self.ask(Fabric).fence(self.order.host)
        except Fault as fault:
            await self._tell(host, fault.message)
            raise
        await self._write_down(host, proof)
        return proof

    async def _tell(self, host: Host, why: str) -> None:
        """Tell at the first try that fails: all may take minutes, and machines are missed."""
        await alarm(
            self.store, HA, host, "not fenced",
            f"Host {host.name} seems dead, and nobody can prove it: {why}. Its machines start "
            "nowhere else until it is fenced, or declared degraded",
        )  # fmt: skip

    async def _write_down(self, before: Host, proof: str) -> None:
        """Write the fence down. Unavailable if the host came back while its fencer was asked."""
        host = before
        while True:
            change = self.store.change()
            change.update(Host, host.id, revision=host.revision, fenced=wall(), fence_proof=proof)
            try:
                await self.commit(change)
            except Stale as stale:  # it may only be told of in other words
                host = await self.store.get(Host, before.id)
                if (host.seen, host.seen_since) != (before.seen, before.seen_since):
                    raise Unavailable(f"host {host.name} came back meanwhile") from stale
            else:
                return

    @step
    async def routers(self) -> tuple[str, ...]:
        """Take the routers that stood there from their networks; those in use get one again."""
        await self.view.fresh()
        taken: list[str] = []
        for network in await self.store.find(Network, router=self.order.host):
            change = self.store.change()
            change.update(Network, network.id, revision=network.revision, router=None, up=False)
            if needs_router(self.view, network, self.order.host):
                order_router(self.view, change, network)
            try:
                await self.commit(change)
            except Stale:
                continue  # somebody is building it elsewhere
            taken.append(network.id)
        return tuple(taken)

    @step
    async def machines(self) -> None:
        """Order a job for each machine, as others may be at work on it; a sweep finds them too."""
        for _ in range(ORDER_TRIES):
            await self.view.fresh()
            left = [vm for vm in self.view.all(Vm) if self.order.host in vm.may_be_on]
            moved = [vm for vm in left if not await self._release_ordered(vm)]
            if not moved:
                return

    async def _release_ordered(self, vm: Vm) -> bool:
        """Order the machine's release; return False if its row has moved on since it was read."""
        change = self.store.change()
        order_release(self.view, change, vm)
        if change.items:
            try:
                await self.commit(change)
            except Stale:
                return False
        return True

    async def succeeded(self) -> None:
        host = await self.store.get(Host, self.order.host)
        await alarm(
            self.store, HA, host, f"fenced {host.fenced}",
            f"Host {host.name} is off: {host.fence_proof}",
        )  # fmt: skip
