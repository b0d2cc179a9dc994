"""What the rows say of the networks of some hosts: one question a kind, however many hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from csnode.data.store import Store
from csnode.model.entity import Entity
from csnode.model.machine import FoundNetwork, FoundNic, GuestNetwork
from csnode.model.network import Network, Nic
from csnode.model.place import Zone
from csnode.model.telling import guest_network
from csnode.model.vm import Vm
from csnode.types import HostId, NetworkId

E = TypeVar("E", bound=Entity)
AT_ONCE = 500  # values of a key in one question
Found = Mapping[HostId, Sequence[FoundNetwork]]


class Records:
    """Read after a look at the hosts, and compared with what was found there."""

    def __init__(self, routed: Sequence[Network], zones: Sequence[Zone]) -> None:
        self._routed: dict[str, list[Network]] = {}
        for row in routed:
            self._routed.setdefault(str(row.router), []).append(row)
        self._zones = {zone.id: zone for zone in zones}
        self._cards: dict[str, dict[str, Nic]] = {}
        self._gave_back: dict[str, set[str]] = {}
        self.needed_by_machines: dict[HostId, set[str]] = {}
        self.lacking: dict[HostId, list[Nic]] = {}
        self.misplaced: dict[HostId, list[NetworkId]] = {}

    def routed(self, host: HostId) -> list[Network]:
        """Return networks whose router is to serve on the host; one being built is not yet."""
        return [row for row in self._routed.get(host, ()) if row.up and not row.gone]

    def needed(self, host: HostId) -> set[str]:
        """Return the first eight digits of every network that has a router or a machine there."""
        ids = {row.id for row in self._routed.get(host, ())}
        return {id[:8] for id in ids | self.needed_by_machines.get(host, set())}

    def told(self, row: Network) -> GuestNetwork:
        """Return what the network's router should have been told."""
        return guest_network(row, self._zones[row.zone])

    def cards(self, network: str) -> dict[str, Nic]:
        """Return the network's cards that its router may know, by id."""
        return self._cards.get(network, {})

    def gave_back(self, network: str) -> set[str]:
        """Return the network's other cards: a router that could not be asked may know them yet."""
        return self._gave_back.get(network, set())

    def add_cards(self, nics: Iterable[Nic]) -> None:
        """Add what was read of the cards of a network."""
        for nic in nics:
            if is_to_be_known(nic):
                self._cards.setdefault(nic.network, {})[nic.id] = nic
            else:
                self._gave_back.setdefault(nic.network, set()).add(nic.id)

    def unlike(self, host: HostId, found: Sequence[FoundNetwork]) -> list[Nic]:
        """Find cards that the routers of the host do not know as their rows say."""
        seen = {(str(f.network), str(card.nic)): card for f in found for card in f.nics}
        return [
            nic
            for row in self.routed(host)
            for nic in self.cards(row.id).values()
            if not _same(nic, seen.get((nic.network, nic.id)))
        ]


def belongs_elsewhere(row: Network, host: HostId) -> bool:
    """Tell whether a router of the network here would be a second one, with the same addresses.

    A row names the host before anything is built there: so this holds while jobs are at work too.
    """
    return row.router != host


async def read(store: Store, found: Found) -> Records:
    """Read all that the rows say of these hosts, on which that was found."""
    hosts = tuple(found)
    routed = await find_many(store, Network, "router", hosts)
    records = Records(routed, await store.find(Zone) if routed else ())
    records.needed_by_machines = await machine_networks(store, hosts)
    records.add_cards(await find_many(store, Nic, "network", [row.id for row in routed]))
    unlike = {host: records.unlike(host, seen) for host, seen in found.items()}
    wanted = {nic.vm for nics in unlike.values() for nic in nics}
    running = {vm.id for vm in await find_many(store, Vm, "id", sorted(wanted)) if vm.runs}
    records.lacking = {h: [n for n in nics if n.vm in running] for h, nics in unlike.items()}
    records.misplaced = await _misplaced(store, found, records)
    return records


async def _misplaced(store: Store, found: Found, records: Records) -> dict[HostId, list[NetworkId]]:
    """Find networks that have a router, or the rest of one, on a host that is not their router's.

    Those that no row is of are strangers, and another matter.
    """
    doubted = {
        host: [f.network for f in seen if (f.told or f.trouble) and f.network not in routed]
        for host, seen in found.items()
        for routed in [{row.id for row in records.routed(host)}]
    }
    ids = sorted({id for ids in doubted.values() for id in ids})
    rows = {row.id: row for row in await find_many(store, Network, "id", ids)}
    return {
        host: [id for id in ids if id in rows and belongs_elsewhere(rows[id], host)]
        for host, ids in doubted.items()
    }


async def machine_networks(store: Store, hosts: Sequence[HostId]) -> dict[HostId, set[str]]:
    """Return the networks of the machines that each host has, or has room reserved for."""
    at = {vm.id: vm.host for vm in await find_many(store, Vm, "host", hosts)}
    networks: dict[HostId, set[str]] = {}
    for nic in await find_many(store, Nic, "vm", sorted(at)):
        if host := at.get(nic.vm):
            networks.setdefault(host, set()).add(nic.network)
    return networks


async def find_many(store: Store, kind: type[E], key: str, values: Collection[str]) -> list[E]:
    """Find every row whose key has one of the values."""
    found: list[E] = []
    of = list(values)
    for start in range(0, len(of), AT_ONCE):
        found += await store.find(kind, **{key: tuple(of[start : start + AT_ONCE])})
    return found


def is_to_be_known(nic: Nic) -> bool:
    """Tell whether the router may know the card; a returned address may be another's."""
    return bool(nic.address)


def _same(nic: Nic, card: FoundNic | None) -> bool:
    if card is None:
        return False
    mac, known = nic.mac.lower(), card.mac.lower()
    return (nic.vm, mac, nic.address) == (card.vm, known, card.address)
