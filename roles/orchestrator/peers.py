"""Which orchestrators are alive, as far as one of them can see.

Each renews its lease; whoever sees the renewals (by its own clock, never by the lease's) takes
it for alive; backends other than the data service say themselves what is held. A hint: whether a
lease has really run out shows when it is taken over.
"""

from __future__ import annotations

from csnode.clock import now
from csnode.data.view import View
from csnode.faults import Fault
from csnode.lease.lease import Leases
from csnode.log import logger
from csnode.model.ids import ORCHESTRATORS, orchestrator_in
from csnode.model.stock import Lease
from csnode.types import NodeId

log = logger("orchestrator")


class Peers:
    """Follows the leases of all orchestrators."""

    def __init__(self, me: NodeId, lease_seconds: float, view: View, leases: Leases) -> None:
        self._me, self._lease_s, self._leases = me, lease_seconds, leases
        self._told: frozenset[str] = frozenset()
        self._renewed: dict[str, float] = {}  # a lease that was there before us proves nothing
        view.listen(Lease, self._noted)

    def _noted(self, old: Lease | None, new: Lease | None) -> None:
        name = orchestrator_in(new.id) if new is not None else None
        if new is None or name is None:
            return
        if old is not None and old.revision == new.revision:
            return  # only read again
        if new.holder == name:
            self._renewed[name] = now()
        else:  # given back, or taken from it
            self._renewed.pop(name, None)

    async def look(self) -> None:
        """Ask a backend that has no rows. While it is away, those that were there are there."""
        try:
            held = await self._leases.held(ORCHESTRATORS)
        except Fault as fault:
            log.info("cannot see who else is there", why=fault.message)
        else:
            self._told = frozenset(filter(None, map(orchestrator_in, held)))

    def alive(self) -> tuple[str, ...]:
        """Return those alive by the names they claim under, ourselves included."""
        since = now() - self._lease_s
        self._renewed = {name: at for name, at in self._renewed.items() if at > since}
        return tuple(sorted({self._me, *self._renewed, *self._told}))
