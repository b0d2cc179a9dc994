"""One host's leases, and the watchdog that answers for whoever keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from csnode.bus.bus import Bus
from csnode.config import NodeConfig
from csnode.contracts.fabric import Fabric
from csnode.contracts.keeper import Standing
from csnode.drivers.driver import Seat
from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.leasehold import Leasehold
from csnode.drivers.watchdog import Watchdog
from csnode.faults import Fault, NotFound, Unavailable
from csnode.log import logger
from csnode.plugins import driver_type
from csnode.types import HostId, PoolId
from csnode.uuids import new_secret
from roles.keeper.config import KeeperConfig
from roles.keeper.guard import Guard, Terms
from roles.keeper.watcher import Watcher

PET_S = 1.0
TELL_AGAIN_S = 10.0
SIM = "sim"
log = logger("keeper")


class HostLeases:
    """All the host's guards. What they tell waits until somebody can be told."""

    def __init__(self, bus: Bus, host: HostId, watchdog: Watchdog | None) -> None:
        self._bus, self._host, self._watchdog = bus, host, watchdog
        self._untold: asyncio.Queue[str] = asyncio.Queue()
        self._guards: dict[str, tuple[Guard, Watcher]] = {}

    def add(self, guard: Guard) -> None:
        """Add one pool."""
        self._guards[guard.pool.seat.id] = guard, Watcher(guard.pool)

    @property
    def troubles(self) -> Sequence[str]:
        return [trouble for guard, _ in self._guards.values() for trouble in guard.troubles]

    async def standing(self, host: HostId, pool: PoolId) -> Standing:
        """Answer as the contract has it."""
        if pool not in self._guards:
            raise NotFound(f"this host keeps no lease in pool {pool}")
        guard, watcher = self._guards[pool]
        if not guard.holds:
            raise Unavailable(f"this host does not reach pool {guard.pool.seat.name} itself")
        return await watcher.standing(host)

    async def tell(self, text: str) -> None:
        """Have it told once there is somebody."""
        self._untold.put_nowait(text)

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Guard, until it ends in good order, and have all leases say so.

        Otherwise nothing is taken back, and the watchdog is right to bite.
        """
        guards = [guard for guard, _ in self._guards.values()]
        loops = [self._pet(), self._tell_all()]
        loops += [loop for guard in guards for loop in (guard.renew(), guard.watch())]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for guard, watcher in self._guards.values():
                await asyncio.gather(guard.close(), watcher.close())
        await asyncio.gather(*(guard.leave() for guard in guards))

    async def _pet(self) -> None:
        while True:
            late = [guard.pool.seat.name for guard, _ in self._guards.values() if guard.overdue]
            if late:
                log.error("machines may run that lost their pool", pools=late)
            elif self._watchdog is not None:
                with suppress(Fault):
                    self._watchdog.pet()
            await asyncio.sleep(PET_S)

    async def _tell_all(self) -> None:
        while True:
            text = await self._untold.get()
            try:
                await self._bus.ask(Fabric).report(self._host, text)
            except Unavailable:
                self._untold.put_nowait(text)
                await asyncio.sleep(TELL_AGAIN_S)
            except Fault as fault:
                log.warning("nobody is told", text=text, why=fault.message)


@asynccontextmanager
async def keeping(
    config: KeeperConfig, node: NodeConfig, bus: Bus, seat: Seat
) -> AsyncGenerator[HostLeases]:
    """Yield the leases of that host, kept. Raises Refused if its watchdog cannot be armed."""
    async with AsyncExitStack() as stack:
        watchdog = await _armed(config, seat, stack)
        hypervisor_type: type[Hypervisor] = driver_type(Hypervisor, config.hypervisor)
        hypervisor = await stack.enter_async_context(
            hypervisor_type(config.hypervisor_options, seat)
        )
        leases = HostLeases(bus, HostId(seat.id), watchdog)
        terms: Terms = config.terms(watchdog.seconds if watchdog else 0.0)
        kind: type[Leasehold] = driver_type(Leasehold, config.leases)
        for name, folder in sorted(config.pools.items()):
            place = Seat(id=node.shared_pool(name), name=name, address=seat.id, folder=folder)
            pool = await stack.enter_async_context(kind(config.lease_options, place))
            leases.add(Guard(HostId(seat.id), new_secret(9), pool, hypervisor, terms, leases.tell))
        await stack.enter_async_context(leases.at_work())
        yield leases


async def _armed(config: KeeperConfig, seat: Seat, stack: AsyncExitStack) -> Watchdog | None:
    if not config.watchdog:
        return None
    name = SIM if config.watchdog == SIM else "device"
    kind: type[Watchdog] = driver_type(Watchdog, name)
    place = Seat(id=seat.id, name=seat.name, address="", folder=config.watchdog)
    return await stack.enter_async_context(kind({"seconds": config.watchdog_seconds}, place))
