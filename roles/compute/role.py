"""The compute role: runs machines on the host it is on, or on simulated ones.

Serves Compute at each of its hosts. Writes the fact vm.power. Owns the hosts' domains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from csnode.drivers.driver import Seat
from csnode.drivers.hypervisor import Hypervisor
from csnode.model.vm import Vm
from csnode.plugins import driver_type
from csnode.role import Opened, Role, every
from csnode.types import HostId, Power, VmId
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
        """Yield the node's own host, and those it plays besides."""
        for id, name in self.node.hosts(self.config.hosts):
            yield Seat(
                id=id,
                name=name,
                address=self.config.address or self.node.address or "127.0.0.1",
                folder=str(Path(self.node.state) / "compute" / name),
            )

    def loops(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        sweep_s = self.config.sweep_seconds
        return [*super().loops(), *([(sweep_s, self.sweep)] if sweep_s else [])]

    async def sweep(self) -> None:
        """Look for machines that changed without our being told, or that are here and nobody's."""
        for host, seen, rows in await self._looked(self.hosts):
            await host.compare(seen, rows)
            await host.expel(seen, rows)

    @every(seconds=2)
    async def recover(self) -> None:
        """Look at hypervisors that answer again: they have news."""
        for host, seen, rows in await self._looked([h for h in self.hosts if h.suspect]):
            await host.compare(seen, rows)

    async def drain(self) -> None:
        await asyncio.gather(*(host.finish() for host in self.hosts))

    def troubles(self) -> Sequence[str]:
        return [trouble for host in self.hosts for trouble in host.troubles]

    async def _looked(
        self, hosts: Sequence[HostCompute]
    ) -> list[tuple[HostCompute, dict[VmId, Power], list[Vm]]]:
        """Return each host that answers, the machines found there, and the rows placed there.

        The hosts are asked first: a machine's row says where it belongs before it is there.
        """
        seen = [(host, found) for host in hosts if (found := await host.look()) is not None]
        rows: dict[HostId, list[Vm]] = {host.id: [] for host, _ in seen}
        ids = tuple(rows)
        for start in range(0, len(ids), HOSTS_AT_ONCE):
            some = ids[start : start + HOSTS_AT_ONCE]
            for row in await self.store.find(Vm, host=some):
                if row.host is not None:
                    rows[row.host].append(row)
        return [(host, found, rows[host.id]) for host, found in seen]

    @asynccontextmanager
    async def _played(self, kind: type[Hypervisor], seat: Seat) -> AsyncGenerator[HostCompute]:
        async with kind(self.config.options_for(kind), seat) as hypervisor:
            host = HostCompute(HostId(seat.id), hypervisor, self.store, self.config.ghost_seconds)
            following = asyncio.create_task(host.follow())
            self.bus.serve(host, at=(host.id,))
            try:
                yield host
            finally:
                self.bus.retire(host)
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await host.close()
