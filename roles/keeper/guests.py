"""The guests of a host whose disks are on one pool: found, and stopped for certain."""

from __future__ import annotations

import asyncio

from csnode.clock import now
from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.leasehold import Leasehold
from csnode.faults import Fault
from csnode.log import logger
from csnode.types import Power, VmId

LOOK_S = 2.0  # a hypervisor that takes longer to say what it has is asked again
WAIT_S = 0.5  # between orders to stop, and looking whether it was done
log = logger("keeper")


class Guests:
    """What the hypervisor has is the truth: no record is asked, so none needs to be reached."""

    def __init__(self, hypervisor: Hypervisor, pool: Leasehold) -> None:
        self._hypervisor, self._pool = hypervisor, pool
        self._stopping: dict[VmId, asyncio.Task[None]] = {}
        self.none_at = float("-inf")  # when a look began that found none
        self.stopped: set[VmId] = set()  # since that was last emptied

    async def stop(self) -> bool:
        """Go one round: order all of them off, and look again. True if none was there to stop."""
        began = now()
        found = await self._running()
        if found is None:
            return False
        if not found:
            self.none_at = began
            return True
        for vm in found:
            self._begin(vm)
        await asyncio.wait(self._stopping.values(), timeout=WAIT_S)
        return False

    async def close(self) -> None:
        """Wait for no order any more."""
        for task in self._stopping.values():
            task.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)

    async def _running(self) -> list[VmId] | None:
        """Find machines that run with disks on the pool; None if the hypervisor does not say."""
        try:
            async with asyncio.timeout(LOOK_S):
                found = await self._hypervisor.inspect()
        except (Fault, TimeoutError) as error:
            log.warning("cannot see what runs here", pool=self._pool.seat.name, why=str(error))
            return None
        return [
            domain.vm
            for domain in found
            if domain.power is Power.ON and any(self._pool.covers(disk) for disk in domain.disks)
        ]

    def _begin(self, vm: VmId) -> None:
        """Begin one order at a time for each guest.

        A guest that hangs in the kernel holds up its own only.
        """
        if vm not in self._stopping:
            self._stopping[vm] = task = asyncio.create_task(self._stop(vm))
            task.add_done_callback(lambda _: self._stopping.pop(vm, None))

    async def _stop(self, vm: VmId) -> None:
        log.warning("stopping a guest: the lease of its pool ran out", vm=vm,
                    pool=self._pool.seat.name)  # fmt: skip
        self.stopped.add(vm)
        try:
            await self._hypervisor.ensure_off(vm, True)
        except Fault as fault:
            log.warning("guest not stopped yet", vm=vm, why=fault.message, detail=fault.detail)
