"""A small cloud for `verify` to judge, and what it takes to do damage to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from csnode.model.entity import Entity
from csnode.model.network import Network, Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.engine import Engine
from csnode.testing.cloud import SimCloud
from csnode.types import (
    HostId,
    PoolId,
)
from roles.data import change as data_change
from roles.data import references
from tests.sim.world import prepared
from tests.support.store import HinderedStore

LOST = "00000000-0000-4000-8000-00000000dead"


class Scene:
    """A cloud with two running machines, a stopped one, and one that is destroyed."""

    vm: Vm
    other: Vm
    halted: Vm
    nic: Nic
    volume: Volume
    network: Network

    def __init__(self, cloud: SimCloud) -> None:
        self.cloud = cloud

    @property
    def host(self) -> HostId:
        assert self.vm.host
        return self.vm.host

    @property
    def pool(self) -> PoolId:
        assert self.volume.pool
        return self.volume.pool

    @property
    def router(self) -> HostId:
        assert self.network.router
        return self.network.router

    async def another(self, kind: type[Entity], not_this: str) -> str:
        """The id of another host or pool."""
        return next(row.id for row in await self.cloud.store.find(kind) if row.id != not_this)

    async def edit(self, kind: type[Entity], id: str, **columns: Any) -> None:
        """As whoever may write the columns."""
        writer = next((kind.writers()[c] for c in columns if c in kind.writers()), "test")
        change = self.cloud.store.acting_as(writer).change()
        change.update(kind, id, **columns)
        with anybody_writes():
            await change.commit()

    async def make(self, *rows: Entity) -> None:
        change = self.cloud.store.change()
        for row in rows:
            change.create(row)
        with anybody_writes():
            await change.commit()

    async def drop(self, kind: type[Entity], id: str) -> None:
        change = self.cloud.store.change()
        change.delete(kind, id)
        with anybody_writes():
            await change.commit()

    def sql(self, statement: str, *values: object) -> None:
        """Behind the data service's back."""
        self.cloud.role("data").reader._database.rows(statement, values)

    def orchestrator_sleeps(self) -> None:
        self.cloud.role("orchestrator").work.accepting = False


def hindered(cloud: SimCloud) -> HinderedStore:
    """Have sagas from now on commit through a store that a test may hinder."""
    engine: Engine = cloud.role("orchestrator").engine
    store = HinderedStore(engine.bus, engine.store.role, engine.store.node)
    engine.store = store
    return store


@contextmanager
def anybody_writes() -> Generator[None]:
    """As if the data service did not keep to itself what is its own (taken, tally and lease), nor
    looked at what rows refer to: versions before did not.
    """
    kept, checked = dict(data_change.OWN), references.check
    data_change.OWN.clear()
    references.check = lambda draft, pins: None
    try:
        yield
    finally:
        data_change.OWN.update(kept)
        references.check = checked


async def scene(cloud: SimCloud) -> Scene:
    made = Scene(cloud)
    params = await prepared(cloud)
    ids: list[str] = []
    for _ in range(4):
        job = await cloud.settle("deployVirtualMachine", **params)
        ids.append(job["jobresult"]["virtualmachine"]["id"])
    await cloud.settle("stopVirtualMachine", id=ids[2])
    await cloud.settle("destroyVirtualMachine", id=ids[3])
    store = cloud.store
    made.vm, made.other, made.halted = [await store.get(Vm, id) for id in ids[:3]]
    made.nic = (await store.find(Nic, vm=ids[0]))[0]
    made.volume = (await store.find(Volume, vm=ids[0]))[0]
    made.network = await store.get(Network, made.nic.network)
    return made


Plant = Callable[[Scene], Awaitable[None]]


class Damage(NamedTuple):
    """What is planted, the check that must find it, and whether there is a safe cure."""

    check: str
    plant: Plant
    cured: bool

    @property
    def name(self) -> str:
        return self.plant.__name__


DAMAGE: list[Damage] = []


def damage(check: str, *, cured: bool = False) -> Callable[[Plant], Plant]:
    def mark(plant: Plant) -> Plant:
        DAMAGE.append(Damage(check, plant, cured))
        return plant

    return mark
