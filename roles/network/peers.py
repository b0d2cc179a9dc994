"""Where guest networks go on: the other hosts of the zone, as the rows name them.

A host that is down stays: its guests come back there, or the host leaves the cloud.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from csnode.bus.event import Changed
from csnode.data.store import Store
from csnode.directory.directory import Member, Served
from csnode.faults import Fault
from csnode.log import logger
from csnode.model.host import Host
from roles.network.host import HostNetwork

TRIES = 30  # to find the row of a host that the directory shows; then sweeps do
log = logger("network")


class Peers:
    """Tells the hosts of this process which others there are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: Mapping[str, Host] = {}
        self._missed: dict[str, int] = {}  # hosts seen and not enrolled, and how often
        self._one = asyncio.Lock()

    async def tell(self, hosts: Sequence[HostNetwork], news: Changed | None = None) -> None:
        """Tell these hosts of the others.

        A Fault is logged, not raised: tunnels stand as they are until the next turn.
        """
        async with self._one:
            if news and not self._is_news(news):
                return
            try:
                self._known = {row.id: row for row in await self._store.find(Host)}
                for host in hosts:
                    if own := self._known.get(host.driver.seat.id):  # or it is another world's
                        await host.reach(others(own, self._known.values()))
            except Fault as fault:
                log.info("tunnels left as they are", why=fault.message)

    def awaited(self, members: Sequence[Member]) -> bool:
        """Tell whether the directory shows a host whose row is due any moment."""
        served = {at for member in members for at in member.places(Served.NETWORKING)}
        seen = served - set(self._known)
        self._missed = {at: self._missed.get(at, 0) + 1 for at in seen}
        return any(times <= TRIES for times in self._missed.values())

    def _is_news(self, changed: Changed) -> bool:
        """Tell whether a host has come or gone; a heartbeat is none."""
        return any(bool(entry.row) != (entry.id in self._known) for entry in changed.entries)


def others(own: Host, rows: Iterable[Host]) -> tuple[str, ...]:
    """Return the addresses of the zone's other hosts, each once."""
    found = {row.address for row in rows if row.zone == own.zone and row.id != own.id}
    return tuple(sorted(found - {"", own.address}))
