"""Evidence: the records of a cloud as of one moment, and what its hosts and pools really have."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from typing import TypeVar

from csnode.bus.bus import Bus
from csnode.clock import wall
from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.data.store import Store
from csnode.directory.directory import Served
from csnode.faults import Fault
from csnode.model.entity import Entity
from csnode.model.host import Host, StoragePool
from csnode.model.job import Job
from csnode.model.machine import FoundDomain, FoundNetwork, Holdings
from csnode.model.network import Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import Power
from csnode.verify.rows import Rows, objects_of, settled

E = TypeVar("E", bound=Entity)
T = TypeVar("T")
AT_ONCE = 64  # hosts and pools asked side by side


class Evidence:
    """What was found. Checks read it; nothing changes it once it is gathered."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.wall = wall()  # seconds since 1970
        self.domains: dict[str, tuple[FoundDomain, ...]] = {}  # by host
        self.networks: dict[str, tuple[FoundNetwork, ...]] = {}  # by host
        self.pools: dict[str, Holdings] = {}  # by pool
        self.silent: dict[tuple[str, str], str] = {}  # (contract, host or pool): why
        self.books: tuple[str, ...] = ()  # what the data service finds wrong with itself

    # -- the records -----------------------------------------------------------------------

    def all(self, kind: type[E]) -> Iterable[E]:
        """Return every row of a kind."""
        return self.rows.of(kind).values()

    def get(self, kind: type[E], id: str | None) -> E | None:
        """Return the row, if there is one."""
        return self.rows.of(kind).get(id or "")

    @cached_property
    def nics_of(self) -> dict[str, list[Nic]]:
        """A machine's cards, eth0 first."""
        return _grouped(sorted(self.all(Nic), key=lambda nic: nic.index), lambda nic: nic.vm)

    @cached_property
    def nics_in(self) -> dict[str, list[Nic]]:
        """A network's cards."""
        return _grouped(self.all(Nic), lambda nic: nic.network)

    @cached_property
    def volumes_of(self) -> dict[str, list[Volume]]:
        """A machine's disks, the root disk first."""
        volumes = sorted(self.all(Volume), key=lambda volume: volume.device)
        return _grouped((v for v in volumes if v.vm is not None), lambda v: v.vm or "")

    @cached_property
    def running(self) -> frozenset[tuple[str, str]]:
        """(host, machine) of every domain that was seen to run."""
        every = ((host, d) for host, domains in self.domains.items() for d in domains)
        return frozenset((host, domain.vm) for host, domain in every if domain.power is Power.ON)

    # -- what is left alone ----------------------------------------------------------------

    @cached_property
    def at_work(self) -> frozenset[str]:
        """Ids of what open jobs work on, and of what a stuck one keeps for an operator."""
        return frozenset(id for job in self.all(Job) for id in objects_of(job))

    @cached_property
    def moving(self) -> frozenset[str]:
        """Ids of what may look different outside than in the records, for good reason."""
        busy = self.at_work | self.rows.moved
        if not busy:
            return frozenset()
        parts = {nic.id for nic in self.all(Nic) if nic.vm in busy}
        parts |= {volume.id for volume in self.all(Volume) if volume.vm in busy}
        return frozenset(busy | parts)

    @cached_property
    def moving_networks(self) -> frozenset[str]:
        """Networks that jobs of machines may be at: they build routers side by side."""
        moving = self.moving
        cards = (nic for nic in self.all(Nic) if nic.id in moving)
        return self.moving | {nic.network for nic in cards}

    # -- names for people ------------------------------------------------------------------

    def host_name(self, id: str | None) -> str:
        """Return the host's or pool's name, or its id if it has no row."""
        row = self.get(Host, id) or self.get(StoragePool, id)
        return row.name if row else id or "no host"

    def vm_name(self, id: str | None) -> str:
        """Return the machine's name, with its id."""
        row = self.get(Vm, id)
        return f"{row.name} ({row.id})" if row else f"{id}"


async def gather(bus: Bus, store: Store) -> Evidence:
    """Look at everything, side by side. Raises Unavailable if the data service does not answer."""
    rows = Rows()
    found = Evidence(rows)
    await rows.begin(store)  # before any host is asked: what it does from now on is in the feed
    await asyncio.gather(rows.read(store), _survey(bus, store, found), _books(store, found))
    await settled(store, rows)
    return found


async def _books(store: Store, found: Evidence) -> None:
    found.books = await store.data.check() or ()


async def _survey(bus: Bus, store: Store, found: Evidence) -> None:
    """Ask every host and pool what it has; note those that cannot be asked."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(
        what: str, at: str, into: dict[str, T], asking: Callable[[], Awaitable[T]]
    ) -> None:
        async with turn:
            try:
                into[at] = await asking()
            except Fault as fault:
                found.silent[what, at] = fault.message

    hosts, pools = await asyncio.gather(store.find(Host), store.find(StoragePool))
    async with asyncio.TaskGroup() as group:
        for host in hosts:
            compute, networking = bus.ask(Compute, at=host.id), bus.ask(Networking, at=host.id)
            group.create_task(ask(Served.COMPUTE, host.id, found.domains, compute.inspect))
            group.create_task(ask(Served.NETWORKING, host.id, found.networks, networking.inspect))
        for pool in pools:
            storage = bus.ask(Storage, at=pool.id)
            group.create_task(ask(Served.STORAGE, pool.id, found.pools, storage.survey))


def _grouped(rows: Iterable[E], by: Callable[[E], str]) -> dict[str, list[E]]:
    found: defaultdict[str, list[E]] = defaultdict(list)
    for row in rows:
        found[by(row)].append(row)
    return found
