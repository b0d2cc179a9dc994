"""Shelves with every answer on them, to be held against answers that are made just now."""

from __future__ import annotations

import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

from csnode.api.about import Rank
from csnode.api.command import load_commands
from csnode.api.reach import ALL, Scope
from csnode.api.shelf import Shelf
from csnode.api.view import Shown, for_rank
from csnode.faults import Fault
from csnode.model.alert import Alert
from csnode.model.entity import Entity, Ref, Was, declared_kind
from csnode.model.event import UserEvent
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Domain
from csnode.model.job import Job
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.template import Template
from csnode.model.volume import Volume, VolumeType
from tests.api import seeds
from tests.api.conftest import Desk

NET = seeds.uuid(500)
WORDS = {"maintenance": "on", "cidr": "10.9.0.0/16"}  # what these columns may say besides
FIRST, DATA_DISK = seeds.uuid(1_000_001), seeds.uuid(901)


def world() -> list[Any]:
    """One row at least of every kind that is shown, beyond those of the seeds."""
    disk: Any = Volume(
        id=DATA_DISK, name="data", account=seeds.ALICE, domain=seeds.ACME, zone=seeds.ZONE,
        vm=FIRST, device=1, type=VolumeType.DATA, size=1, disk_offering=seeds.DISK, pool=seeds.POOL,
    )  # fmt: skip
    wire = seeds.uuid(910)
    zone, pod, cluster = seeds.uuid(921), seeds.uuid(922), seeds.uuid(923)
    return [
        Zone(id=zone, name="zone2"), Pod(id=pod, zone=zone, name="pod2"),
        Cluster(id=cluster, zone=zone, pod=pod, name="cluster2"),
        Host(id=seeds.uuid(924), name="h2", zone=zone, pod=pod, cluster=cluster,
             address="192.0.2.99"),
        StoragePool(id=seeds.uuid(925), name="pool2", zone=zone, path="/pool2"),
        *seeds.network(seeds.uuid(926), name="back")[:1],
        PhysicalNetwork(id=seeds.uuid(927), name="wire2", zone=zone),
        Template(id=seeds.uuid(928), name="spare", account=seeds.ALICE, domain=seeds.ACME),
        *seeds.network(NET), *seeds.machine(1, NET), *seeds.machine(2, NET), disk,
        Job(id=seeds.uuid(911), verb="start_vm", order={}, command="startVirtualMachine",
            object_kind="vm", object_id=FIRST, account=seeds.ALICE, created=20.0),
        UserEvent(id=seeds.uuid(912), type="VM.START", description="started", account=seeds.ALICE,
                  domain=seeds.ACME, user=seeds.user_of(seeds.ALICE),
                  created=20.0),
        Alert(id=seeds.uuid(913), type=7, name="ALERT.HOST", text="down", sent=20.0),
        PhysicalNetwork(id=wire, name="wire", zone=seeds.ZONE),
        TrafficType(id=seeds.uuid(914), type="Guest", physical_network=wire),
    ]  # fmt: skip


def answers() -> list[type[Shown]]:
    """Return every class of answer that some shelf may keep: those that `made` can make."""
    shown = {d.shows for d in load_commands().values() if d.shows and d.shows.of.kind}
    return sorted((each for each in shown if _is_made(each)), key=lambda each: each.__name__)


def _is_made(shown: Any) -> bool:
    """Whether its `made` is its own, or that of a class with the same fields."""
    maker: Any = next(each for each in shown.__mro__ if "made" in vars(each))
    return maker is not Shown and maker.__struct_fields__ == shown.__struct_fields__


class Shelves:
    """A shelf of each class of answer, everything on it kept."""

    def __init__(self, desk: Desk, shown: list[type[Shown]]) -> None:
        self.view = desk.api.view
        self.shelves = [Shelf(each, self.view) for each in shown]
        self.old()

    def old(self) -> list[str]:
        """Name the kept answers and lists that are not as they would be made now."""
        return [said for shelf in self.shelves for said in self._old(shelf)]

    def _old(self, shelf: Shelf) -> Iterator[str]:
        shown, view = shelf.shown, self.view
        rows = view.all(shown.of)
        for row in rows:
            made = for_rank(shown.made(row, view), Rank.ROOT_ADMIN)
            if shelf.encoded(row.id, Rank.ROOT_ADMIN) != made:
                yield f"{shown.__name__} {row.id}"
            if shelf.hidden(row.id) != shown.hidden(row, view):
                yield f"{shown.__name__} {row.id} hidden"
        for scope in (ALL, *(Scope(what="under", id=each.id) for each in view.all(Domain))):
            fresh = {row.id for row in rows if scope is ALL or scope.id in self._above(shown, row)}
            if set(shelf.every(scope)) != fresh:
                yield f"{shown.__name__} list {scope.what} {scope.id}"

    def _above(self, shown: type[Shown], row: Entity) -> set[str]:
        found: set[str] = set()
        domain = self.view.maybe(Domain, shown.owner(row, self.view)[1])
        while domain is not None and domain.id not in found:
            found.add(domain.id)
            domain = self.view.maybe(Domain, domain.parent)
        return found


async def changed(desk: Desk, row: Entity, column: str, value: Any) -> bool:
    """Commit a new value, as the role that may; False if the data service refuses it."""
    by = type(row).writers().get(column)
    try:
        if by:
            await desk.observe(type(row), row.id, by, **{column: value})
        else:
            change = desk.store.acting_as("api").change()
            change.update(type(row), row.id, **{column: value})
            await change.commit()
    except Fault:
        return False
    await desk.api.view.fresh()
    return True


def others(row: Entity, column: str, hint: Any, desk: Desk) -> list[Any]:
    """Values that the column does not have now and might have."""
    now, marks, args = getattr(row, column), (), get_args(hint)
    if get_origin(hint) is Annotated:
        hint, marks = args[0], args[1:]
    optional = get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
    kind: Any = next(a for a in get_args(hint) if a is not type(None)) if optional else hint
    named = next((mark.to for mark in marks if isinstance(mark, Ref | Was)), "")
    found: list[Any] = [None] if optional and now is not None else []
    if named and named in set(desk.api.view) and not isinstance(now, tuple):
        rows = desk.api.view.all(declared_kind(named))
        return found + [each.id for each in rows if each.id != now][:2] + ["nobody"]
    if column in WORDS and isinstance(now, str):
        return [*found, WORDS[column]]
    return found + _beside(now, getattr(kind, "__supertype__", kind))


def _beside(now: Any, declared: Any) -> list[Any]:
    kind: Any = declared if now is None else now.__class__
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [each for each in kind if each is not now]
    if kind is bool:
        return [not now]
    if kind in (int, float):
        return [(now or 0) + 1]
    if kind is str:
        return [f"{now or ''}x"]
    if isinstance(now, tuple):
        return [(*now, "x"), (*now, seeds.HOST)]
    return [{**now, "x": "1"}, {**now, "x": 1}] if isinstance(now, dict) else []
