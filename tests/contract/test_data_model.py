"""Whatever is committed, at once or one by one, the data role does what a simple model does."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from csnode.bus.local import LocalBus
from csnode.contracts.data import ChangeItem, Commit, Committed, Count, Data, Delete, Give, Take
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Fault
from csnode.model.place import Zone
from csnode.model.stock import Range, Taken, Tally
from csnode.testing.data_cloud import created, updated
from roles.data.config import DataConfig
from tests.contract.data_writer import playing

ZONES, NAMES, OWNERS = ("a", "b", "c"), ("x", "y", "z"), ("o", "p")
RANGES = {"r": 2, "s": 1}
LIMIT = 3


class Make(NamedTuple):
    zone: str
    name: str

    def change(self) -> ChangeItem:
        return created(Zone(id=self.zone, name=self.name))


class Rename(NamedTuple):
    zone: str
    name: str

    def change(self) -> ChangeItem:
        return updated(Zone, self.zone, name=self.name)


class Drop(NamedTuple):
    zone: str

    def change(self) -> ChangeItem:
        return Delete(kind="zone", id=self.zone)


class Grab(NamedTuple):
    range: str
    owner: str
    wish: int | None

    def change(self) -> ChangeItem:
        return Take(range=self.range, owner=self.owner, wish=self.wish)


class Return(NamedTuple):
    owner: str
    range: str

    def change(self) -> ChangeItem:
        return Give(owner=self.owner, range=self.range)


class Add(NamedTuple):
    owner: str
    by: int

    def change(self) -> ChangeItem:
        return Count(owner=self.owner, by={"vm": self.by}, limits={"vm": LIMIT})


Act = Make | Rename | Drop | Grab | Return | Add
owners = st.sampled_from(OWNERS)
zones, names = st.sampled_from(ZONES), st.sampled_from(NAMES)
ACTS: st.SearchStrategy[Act] = st.one_of(
    st.builds(Make, zones, names),
    st.builds(Rename, zones, names),
    st.builds(Drop, zones),
    st.builds(Grab, st.sampled_from((*RANGES, "absent")), owners, st.none() | st.integers(0, 2)),
    st.builds(Return, owners, st.sampled_from(("", *RANGES))),
    st.builds(Add, owners, st.integers(-2, 2)),
)
COMMIT = st.lists(ACTS, min_size=1, max_size=4)
BURST = st.lists(COMMIT, min_size=1, max_size=6)  # of commits that arrive together


class Model:
    """Zones by id, owners by value, tallies by owner: no disks, no batches, no speed."""

    def __init__(self) -> None:
        self.zones: dict[str, str] = {}
        self.taken: dict[tuple[str, int], str] = {}
        self.used: dict[str, int] = {}

    def commit(self, acts: list[Act]) -> list[int] | None:
        """What each Grab got; None if the commit is refused."""
        before = dict(self.zones), dict(self.taken), dict(self.used)
        got: list[int] = []
        if all(self.does(act, got) for act in acts):
            return got
        self.zones, self.taken, self.used = before
        return None

    def does(self, act: Act, got: list[int]) -> bool:
        match act:
            case Make(zone, name):
                return zone not in self.zones and self.name(zone, name)
            case Rename(zone, name):
                return zone in self.zones and self.name(zone, name)
            case Drop(zone):
                self.zones.pop(zone, None)
            case Grab():
                got.extend(taken := self.take(act))
                return bool(taken)
            case Return(owner, name):
                for (range, value), has in list(self.taken.items()):
                    if has == owner and name in ("", range):
                        del self.taken[range, value]
            case Add(owner, by):
                used = max(0, self.used.get(owner, 0) + by)
                if used or owner in self.used:
                    self.used[owner] = used
                return by <= 0 or used <= LIMIT
        return True

    def name(self, zone: str, name: str) -> bool:
        if name in [n for z, n in self.zones.items() if z != zone]:
            return False
        self.zones[zone] = name
        return True

    def take(self, act: Grab) -> list[int]:
        """The value, if there is one for it."""
        has = [v for (r, v), o in self.taken.items() if (r, o) == (act.range, act.owner)]
        free = [v for v in range(RANGES.get(act.range, 0)) if (act.range, v) not in self.taken]
        found = [v for v in has or free if act.wish in (None, v)][:1]
        self.taken |= {(act.range, value): act.owner for value in found}
        return found


@settings(max_examples=80)
@given(st.lists(BURST, max_size=6), st.sampled_from((1, 3, 512)))
def test_a_simple_model_agrees(bursts: list[list[list[Act]]], batch_max: int) -> None:
    asyncio.run(agree(bursts, batch_max))


async def agree(bursts: list[list[list[Act]]], batch_max: int) -> None:
    """Commits of a burst are sent at once, and happen in the order in which they were sent."""
    model = Model()
    bus = LocalBus(AloneDirectory())
    store = Store(bus, "api")

    async def commit(acts: list[Act]) -> list[int] | None:
        try:
            changes = tuple(act.change() for act in acts)
            return list((await store.commit(Commit(changes=changes))).got)
        except Fault:
            return None

    async with playing(bus, DataConfig(path=":memory:", inline=True, batch_max=batch_max)):
        ranges = [created(Range(id=r, low=0, high=n - 1)) for r, n in RANGES.items()]
        done: Committed = await store.commit(Commit(changes=tuple(ranges)))
        assert done.number == len(RANGES)
        for burst in bursts:
            assert await asyncio.gather(*map(commit, burst)) == [model.commit(c) for c in burst]
            assert {z.id: z.name for z in await store.find(Zone)} == model.zones
            assert {t.id: t.used["vm"] for t in await store.find(Tally)} == model.used
            taken = {(t.range, t.value): t.owner for t in await store.find(Taken)}
            assert taken == model.taken
            for name in NAMES:
                named = {z.id for z in await store.find(Zone, name=name)}
                assert named == {z for z, n in model.zones.items() if n == name}
        await feed_agrees(bus.ask(Data), store)


async def feed_agrees(data: Data, store: Store) -> None:
    """Played back from its beginning, the feed gives the rows."""
    rows: dict[Any, bytes] = {}
    feed = await data.feed(0, ("zone", "taken", "tally", "range"), 10_000)
    for number, (kind, entry) in enumerate(feed.entries, 1):
        assert entry.number == number
        rows[kind, entry.id] = entry.row
    for kind in (Zone, Taken, Tally, Range):
        found = await data.find(kind.kind, {}, "", 10_000)
        assert {r.id: r.row for r in found} == {
            id: row for (name, id), row in rows.items() if name == kind.kind and row
        }
        assert len(found) == len(await store.find(kind))
