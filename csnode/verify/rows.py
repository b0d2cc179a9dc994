"""Every row that is judged, as of one moment: read page by page, then brought up to one number.

Pages are read while the cloud moves. What moved meanwhile is in the feed, so replaying that from
before the first page leaves the rows as they were together at its last number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from csnode.contracts.data import Row
from csnode.data import pages
from csnode.data.store import Store
from csnode.faults import Gone, Unavailable
from csnode.model.entity import Entity
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account, Domain, User
from csnode.model.ids import object_parts
from csnode.model.job import CLOSED, Cancel, Job, JobState
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Lease, Lock, Range, Taken, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume

E = TypeVar("E", bound=Entity)
PAGE = 4000  # rows; some 3 MB of machines, and a message may have 17
KINDS: tuple[type[Entity], ...] = (
    Account, Cancel, Cluster, DiskOffering, Domain, Host, Job, Lease, Lock, Network,
    NetworkOffering, Nic, Offering, OsType, PhysicalNetwork, Pod, Range, StoragePool, Taken, Tally,
    Template, TrafficType, User, Vm, Volume, Zone,
)  # fmt: skip
NAMES = tuple(kind.kind for kind in KINDS)
TYPES = {kind.kind: kind for kind in KINDS}
HELD = tuple(s for s in JobState if s not in CLOSED or s is JobState.STUCK)
"""States of the jobs that are read: those that ended are history."""


class Rows:
    """The rows of all kinds judged, and what of them moved while they were read."""

    def __init__(self) -> None:
        self.number = 0  # of the last commit that is in them
        self.moved: set[str] = set()  # ids of what changed, and of what jobs worked on, meanwhile
        self.unreadable: dict[tuple[str, str], str] = {}  # (kind, id): why
        self._of: dict[str, dict[str, Entity]] = {name: {} for name in NAMES}

    def of(self, kind: type[E]) -> dict[str, E]:
        """Return all rows of a kind, by id."""
        return cast("dict[str, E]", self._of[kind.kind])

    def ids(self, kind: str) -> Set[str]:
        """Return the ids of all rows of a kind; of those that cannot be read too."""
        unreadable = {id for name, id in self.unreadable if name == kind}
        return self._of[kind].keys() | unreadable if unreadable else self._of[kind].keys()

    async def begin(self, store: Store) -> None:
        """Notice whatever changes from here on."""
        self.number = await store.data.head(NAMES)

    async def read(self, store: Store) -> None:
        """Read every page of every kind; `catch_up` makes one moment of them."""
        await asyncio.gather(*(self._read_kind(store, kind) for kind in KINDS))

    async def catch_up(self, store: Store) -> None:
        """Replay what happened since reading began. Raises Gone if the feed has forgotten it."""
        async for page in pages.feed(store.data, self.number, NAMES, PAGE):
            for name, entry in page.entries:
                self._apply(name, entry.id, entry.row)
            self.number = page.upto

    async def _read_kind(self, store: Store, kind: type[Entity]) -> None:
        where = {"state": HELD} if kind is Job else {}
        async for page in pages.rows(store.data, kind.kind, where, PAGE):
            self._of[kind.kind] |= self._decoded(kind, page)

    def _decoded(self, kind: type[Entity], page: Iterable[Row]) -> dict[str, Entity]:
        """Decode all at once, or one by one if one of them cannot be read."""
        try:
            rows = _many(kind).decode(b"[" + b",".join(row.row for row in page) + b"]")
        except (msgspec.ValidationError, msgspec.DecodeError):
            found = (self._one(kind, row.id, row.row) for row in page)
            return {row.id: row for row in found if row is not None}
        return {row.id: row for row in rows}

    def _one(self, kind: type[Entity], id: str, row: bytes) -> Entity | None:
        try:
            return _many(kind).decode(b"[" + row + b"]")[0]
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            self.unreadable[kind.kind, id] = str(error)
            return None

    def _apply(self, name: str, id: str, text: bytes) -> None:
        self.unreadable.pop((name, id), None)
        old = self._of[name].pop(id, None)
        new = self._one(TYPES[name], id, text) if text else None
        self.moved.add(id)
        for row in (old, new):
            if isinstance(row, Job):
                self.moved |= objects_of(row)
            elif isinstance(row, Nic):
                self.moved |= {row.vm, row.network}
        if new is not None and not (isinstance(new, Job) and new.state not in HELD):
            self._of[name][id] = new


def objects_of(job: Job) -> set[str]:
    """Return the ids of what the job works on."""
    return {job.object_id, *(object_parts(need)[1] for need in job.needs)} - {""}


async def settled(store: Store, rows: Rows) -> None:
    """Catch up; Unavailable if the cloud moves too fast for its feed."""
    try:
        await rows.catch_up(store)
    except Gone as gone:
        raise Unavailable(
            "the data service forgot what changed meanwhile; ask again, or keep more of the feed"
        ) from gone


@cache
def _many(kind: type[Entity]) -> msgspec.json.Decoder[Any]:
    many: Any = list[kind]
    return msgspec.json.Decoder(many)
