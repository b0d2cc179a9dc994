"""The compute role: runs machines on the host it is on, or on simulated ones.

Serves Compute at each of its hosts. Writes the fact vm.power. Owns the hosts' domains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from csnode.drivers.driver import Seat
from csnode.drivers.hypervisor import Hypervisor
from csnode.model.vm import Vm
from csnode.plugins import driver_type
from csnode.role import Opened, Role, every
from csnode.types import HostId
from roles.compute.config import ComputeConfig
from roles.compute.host import HostCompute

HOSTS_AT_ONCE = 200  # whose machines are read with one question


class ComputeRole(Role[ComputeConfig]):
    """One per hypervisor host; with simulated hosts, one plays as many as it is told to."""

    name = "compute"
    hosts: Sequence[HostCompute] = ()

    async def opened(self) -> Opened:
        async with AsyncExitStack() as stack:
            kind = driver_type(Hypervisor, self.config.driver)
            self.hosts = [
                await stack.enter_async_context(self._played(kind, seat)) for seat in self.seats()
            ]
            yield

    def seats(self) -> Iterator[Seat]:
        """The node's own host, and those it plays besides."""
        for id, name in self.node.hosts(self.config.hosts):
            yield Seat(
                id=id,
                name=name,
                address=self.config.address,
                folder=str(Path(self.node.state) / "compute" / name),
            )

    @every(seconds=15)
    async def report(self) -> None:
        """A machine may have changed without our being told."""
        await self._compare(self.hosts)

    @every(seconds=2)
    async def recover(self) -> None:
        """A hypervisor that answers again has news."""
        await self._compare([host for host in self.hosts if host.suspect])

    async def drain(self) -> None:
        await asyncio.gather(*(host.finish() for host in self.hosts))

    def troubles(self) -> Sequence[str]:
        return [host.trouble for host in self.hosts if host.trouble]

    async def _compare(self, hosts: Sequence[HostCompute]) -> None:
        for start in range(0, len(hosts), HOSTS_AT_ONCE):
            some = {host.id: host for host in hosts[start : start + HOSTS_AT_ONCE]}
            rows: dict[HostId, list[Vm]] = {id: [] for id in some}
            for row in await self.store.find(Vm, host=tuple(some)):
                if row.host is not None:
                    rows[row.host].append(row)
            for id, host in some.items():
                await host.compare(rows[id])

    @asynccontextmanager
    async def _played(self, kind: type[Hypervisor], seat: Seat) -> AsyncGenerator[HostCompute]:
        async with kind(self.config.options_for(kind), seat) as hypervisor:
            host = HostCompute(HostId(seat.id), hypervisor, self.store)
            following = asyncio.create_task(host.follow())
            self.bus.serve(host, at=(host.id,))
            try:
                yield host
            finally:
                self.bus.retire(host)
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await host.close()
