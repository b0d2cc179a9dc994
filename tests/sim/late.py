"""What a step said, arriving once more after its job has ended undone: who may still obey it.

Nobody, but for two kinds. A call without a fence is told as a sweep tells it, by the rows. A call
that asks for what the rows say anyway changes nothing: its object may have a new owner by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from csnode.data.store import Store
from csnode.faults import Conflict, Fault, Outdated, Stale
from csnode.model.entity import Entity
from csnode.model.host import Host
from csnode.model.machine import Clone, GuestNetwork, GuestNic
from csnode.model.network import Network
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from csnode.testing.mishaps import READS, Injector, Said

Right = Callable[[Store, str | None, tuple[Any, ...]], Awaitable[bool]]


async def arrives_late(cloud: SimCloud, injector: Injector) -> int:
    """How many acts came once more; each was refused, or asked for what is so."""
    acts = 0
    for said, fault in await injector.replay():
        if said.method.attribute in READS:
            continue
        acts += 1
        assert await is_harmless(cloud.store, said, fault), (said, fault)
    return acts


async def is_harmless(store: Store, said: Said, fault: Fault | None) -> bool:
    """Whether the late call was refused as it should, or asked for what the rows say."""
    if said.method.name == "Data.commit":
        return isinstance(fault, Stale)
    if said.method.name == "Fabric.fence":
        return isinstance(fault, Conflict) or (await store.get(Host, said.args[0])).fenced > 0
    if isinstance(fault, Outdated):
        return True
    right = _RIGHTS.get(said.method.name)
    return right is not None and await right(store, said.at, said.args)


async def _row(store: Store, kind: type[Entity], id: str) -> Any:
    return next(iter(await store.find(kind, id=id)), None)


async def _router_stands(store: Store, at: str | None, args: tuple[Any, ...]) -> bool:
    told: GuestNetwork = args[0]
    row = await _row(store, Network, told.network)
    return row is not None and row.router == at and not row.gone


async def _router_is_elsewhere(store: Store, at: str | None, args: tuple[Any, ...]) -> bool:
    row = await _row(store, Network, args[0])
    return row is None or row.router != at


async def _card_is_there(store: Store, at: str | None, args: tuple[Any, ...]) -> bool:
    told: GuestNic = args[0]
    vm, network = await _row(store, Vm, told.vm), await _row(store, Network, told.network)
    return vm is not None and vm.host is not None and network.router == at


async def _machine_is_elsewhere(store: Store, at: str | None, args: tuple[Any, ...]) -> bool:
    vm = await _row(store, Vm, args[0])
    return vm is None or at not in (vm.host, vm.moving_to)


async def _volume_is_there(store: Store, at: str | None, args: tuple[Any, ...]) -> bool:
    told: Clone = args[0]
    row = await _row(store, Volume, told.volume)
    return row is not None and row.pool == at


async def _volume_is_elsewhere(store: Store, at: str | None, args: tuple[Any, ...]) -> bool:
    row = await _row(store, Volume, args[0])
    return row is None or row.pool != at


_RIGHTS: dict[str, Right] = {
    "Networking.ensure_router": _router_stands,
    "Networking.ensure_no_router": _router_is_elsewhere,
    "Networking.ensure_nic": _card_is_there,
    "Compute.ensure_absent": _machine_is_elsewhere,
    "Storage.ensure_volume": _volume_is_there,
    "Storage.ensure_no_volume": _volume_is_elsewhere,
}
