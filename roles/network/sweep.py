"""Brings a host's networks back to what their rows say.

A job writes into a row where its network or machine belongs before it asks anything of the host,
and takes it out afterwards. So whoever reads the rows alone with the network (under its lock)
knows what is to be there; the look that was taken before only says where reading is worth while.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from csnode.data.store import Store
from csnode.faults import Conflict, Fault
from csnode.log import logger
from csnode.model.machine import FoundNetwork, FoundNic
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.place import Zone
from csnode.model.telling import guest_network, guest_nic
from csnode.model.vm import Vm
from csnode.sweep import Strangers, at_work
from csnode.types import HostId, NetworkId, NicId
from roles.network.host import HostNetwork
from roles.network.records import (
    Records,
    belongs_elsewhere,
    is_to_be_known,
    machine_networks,
    read,
)

log = logger("network")


class HostSweep:
    """One host's routers, bridges and cards."""

    def __init__(self, host: HostNetwork, store: Store, ghost_seconds: float) -> None:
        self.host, self.id = host, HostId(host.driver.seat.id)
        self._store, self._driver = store, host.driver
        where = f"host {self.id}"
        self._networks = Strangers("networks", where, ghost_seconds)
        self._cards = Strangers("cards", where, ghost_seconds)
        self.blocked = ""  # what of the host keeps packets of guests from passing

    @property
    def troubles(self) -> Sequence[str]:
        return [s.trouble for s in (self._networks, self._cards) if s.trouble]

    async def turn(self, found: Sequence[FoundNetwork], records: Records) -> None:
        """Take a turn; `found` was there when the records were read."""
        needed = records.needed(self.id)
        strangers = {f.network for f in found if not f.plugged and f.network[:8] not in needed}
        bridges = {f.network for f in found if not (f.told or f.trouble)}  # machines left them
        ripe = self._networks.ripe(strangers, len(found), strangers & bridges)
        if self._networks.many:
            return  # the records are another world's: nothing of them is to be believed
        for network in ripe:
            await self._quietly("network not removed", network, self._drop(NetworkId(network)))
        for network in records.misplaced.get(self.id, ()):
            await self._quietly("router not removed", network, self._drop_router(network))
        here = {f.network: f for f in found}
        for row in records.routed(self.id):
            seen = here.get(NetworkId(row.id))
            if seen is None or seen.trouble or seen.told != records.told(row):
                await self._quietly("router not told", row.id, self._tell(NetworkId(row.id)))
        await self._mend_cards(here, records)

    async def _mend_cards(self, here: Mapping[NetworkId, FoundNetwork], records: Records) -> None:
        unknown: dict[str, tuple[NetworkId, FoundNic]] = {}
        left: set[str] = set()
        for row in records.routed(self.id):
            seen = here.get(NetworkId(row.id))
            for card in seen.nics if seen else ():
                if card.nic not in records.cards(row.id):
                    unknown[card.nic] = NetworkId(row.id), card
            left |= records.gave_back(row.id)
        for nic in self._cards.ripe(unknown, sum(len(f.nics) for f in here.values()), left):
            await self._quietly("card not removed", nic, self._drop_card(*unknown[nic]))
        for lacking in records.lacking.get(self.id, ()):
            await self._quietly("card not told", lacking.id, self._tell_card(lacking))

    async def _quietly(self, what: str, id: str, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
        except Fault as fault:  # the next turn looks again
            log.warning(what, id=id, host=self.id, why=fault.message)

    # -- each alone with its network -------------------------------------------------------

    async def _drop(self, network: NetworkId) -> None:
        async with self.host.alone(network):
            if await self._is_needed(network):
                return
            log.warning("removing a network nobody has here", network=network, host=self.id)
            await self._driver.ensure_no_router(network)

    async def _drop_router(self, network: NetworkId) -> None:
        """Remove the router; the network stays, if machines of this host are plugged into it."""
        async with self.host.alone(network):
            rows = await self._store.find(Network, id=network)
            if not rows or not belongs_elsewhere(rows[0], self.id):
                return
            log.warning("removing a router that belongs elsewhere", network=network, host=self.id)
            with suppress(Conflict):  # the router is gone, the bridge is not
                await self._driver.ensure_no_router(network)

    async def _is_needed(self, network: NetworkId) -> bool:
        """Tell whether its router belongs here.

        It does, too, if a machine of this host is plugged into it, or will be.
        """
        rows = await self._store.find(Network, router=self.id)
        here = {row.id[:8] for row in rows} | {
            id[:8] for id in (await machine_networks(self._store, (self.id,))).get(self.id, ())
        }
        return network[:8] in here or await at_work(self._store, network)

    async def _tell(self, network: NetworkId) -> None:
        async with self.host.alone(network):
            if row := await self._routed(network):
                zone = await self._store.get(Zone, row.zone)
                await self._driver.ensure_router(guest_network(row, zone))
                log.warning("router told again", network=network, host=self.id)

    async def _drop_card(self, network: NetworkId, card: FoundNic) -> None:
        async with self.host.alone(network):
            rows = await self._store.find(Nic, id=card.nic)
            known = any(row.network == network and is_to_be_known(row) for row in rows)
            if known or await at_work(self._store, card.vm):
                return
            await self._driver.ensure_no_nic(network, card.nic)
            log.warning("removed a card nobody has", nic=card.nic, network=network, host=self.id)

    async def _tell_card(self, nic: Nic) -> None:
        """Tell a running machine's card only: the cards of others are told when they start."""
        async with self.host.alone(nic.network):
            row = await self._routed(nic.network)
            for card in await self._store.find(Nic, id=nic.id):
                vm = await self._store.get(Vm, card.vm)
                if row is None or card.network != row.id or not vm.runs:
                    return
                offering = await self._store.get(Offering, vm.offering)
                zone = await self._store.get(Zone, vm.zone)
                await self._driver.ensure_nic(guest_nic(vm, card, row, offering, zone))
                log.warning("card told again", nic=NicId(nic.id), vm=vm.id, host=self.id)

    async def _routed(self, network: NetworkId) -> Network | None:
        """Return the network's row, if its router is to serve on this host."""
        rows = await self._store.find(Network, id=network)
        return next((r for r in rows if r.router == self.id and r.up and not r.gone), None)


async def sweep(sweeps: Sequence[HostSweep], store: Store) -> None:
    """Take one turn for all hosts of this process; what broke without the rows is mended, too."""
    found: dict[HostId, Sequence[FoundNetwork]] = {}
    for each in sweeps:
        try:
            found[each.id] = seen = await each.host.repair()
            each.blocked = next((f.blocked for f in seen if f.blocked), "")
        except Fault as fault:
            log.info("cannot look at the host's networks", host=each.id, why=fault.message)
    records = await read(store, found)
    for each in sweeps:
        if each.id in found:
            await each.turn(found[each.id], records)
