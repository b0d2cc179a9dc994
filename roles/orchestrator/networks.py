"""How a network comes to stand, and how one that never did goes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from csnode.context import acting
from csnode.contracts.networking import Networking
from csnode.data.view import View
from csnode.faults import Conflict, NotFound, Outdated, Stale, Unavailable
from csnode.model.fit import closed, places
from csnode.model.host import Host, StoragePool
from csnode.model.ids import left_there
from csnode.model.machine import GuestNetwork
from csnode.model.network import Network
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.telling import guest_network
from csnode.saga.saga import Saga
from csnode.types import HostId, NetworkId

BUILD_TRIES = 8


async def is_there(saga: Saga[Any], kind: type[Host | StoragePool], id: str) -> bool:
    """Tell whether a host or pool has anything, and can be asked about it.

    What left the cloud took all it held. A host that is proven off runs nothing; what its own pool
    holds stays there until it is taken back, and is nobody's by then.
    """
    try:
        row = await saga.store.get(kind, id)
        if isinstance(row, StoragePool):
            return row.host is None or await is_there(saga, Host, row.host)
    except NotFound:
        return False
    return not row.fenced


async def can_drop(saga: Saga[Any], kind: type[Host | StoragePool], id: str, thing: str) -> bool:
    """Tell whether the host or pool can be told to drop the thing.

    One that is proven off has it until it is taken back. Its tally says so, with the saga's next
    commit: by then the thing's row may be gone, and the feed and the jobs have forgotten it.
    """
    if await is_there(saga, kind, id):
        return True
    if await saga.store.find(kind, id=id):
        saga.change.count(id, {left_there(thing): 1})
    return False


async def can_be_asked(saga: Saga[Any], host: str) -> bool:
    """Tell whether a host may have something of ours: it is of the cloud, and not proven off."""
    return await is_there(saga, Host, host)


async def ensure_network(saga: Saga[Any], id: NetworkId, host: HostId) -> None:
    """Make the network's router stand: where it stood, or on the given host if it is new.

    Two machines may come to one new network at once: the revision of its row lets one of them
    choose the host, and telling the router twice is telling it once. One that is not up yet may
    be taken down by a job that gives it up; so it is built with the number of a commit at which
    the row said that it stands there. A host refuses older ones once it has taken it down.
    """
    for _ in range(BUILD_TRIES):
        network = await saga.store.get(Network, id)
        if network.gone:
            raise Conflict(f"network {network.name} is being deleted")
        told = guest_network(network, saga.view.get(Zone, network.zone))
        stands = network.router if keeps_router(saga.view, network) else None
        try:
            if network.up and stands is not None:
                await saga.ask(Networking, at=stands).ensure_router(told)
                return
        except Outdated:  # it went and was built again since this job began
            pass
        if await _is_built(saga, network, told, stands or host):
            return
    raise Unavailable("The network's router is taken down again and again by others")


def keeps_router(view: View, network: Network) -> bool:
    """Tell whether its router is, or is to be, on the host that its row names.

    One that does not serve yet is built elsewhere if its host takes nothing any more.
    """
    row = view.maybe(Host, network.router)
    if row is None or row.fenced:
        return False
    return network.up or not closed(row, places(view.all(Cluster), view.all(Pod)))


async def _is_built(saga: Saga[Any], network: Network, told: GuestNetwork, host: HostId) -> bool:
    """Build the router; return False if somebody else decided otherwise meanwhile."""
    change, revision = saga.store.change(), network.revision
    up = network.up and network.router == host
    change.update(Network, network.id, revision=revision, router=host, up=up)
    try:
        number = await saga.commit(change)
    except Stale:
        return False
    try:
        with acting(fence=number):
            await saga.ask(Networking, at=host).ensure_router(told)
    except Outdated:
        return False
    change = saga.store.change()
    revision += network.router != host
    change.update(Network, network.id, revision=revision, up=True, trouble="")
    try:
        await saga.commit(change)
    except Stale:
        return False
    return True


async def drop_unfinished(saga: Saga[Any], id: NetworkId, host: HostId | None) -> None:
    """Drop a router on that host that never came up; one that serves stays, for others use it.

    The row says first that there is none. If we crash then, it is taken down when we come again:
    hence the host, which is where this job would have built it. Of a network whose row is gone
    nothing is to be kept: hosts take that away by themselves.
    """
    try:
        network = await saga.store.get(Network, id)
    except NotFound:
        return
    if host is None or network.up or network.router not in (None, host):
        return
    change = saga.store.change()
    change.update(Network, id, revision=network.revision, router=None)
    try:
        number = await saga.commit(change)
    except Stale:
        return  # somebody else is at it, and means to keep it
    if not await can_drop(saga, Host, host, id):
        return
    with acting(fence=number), suppress(Outdated, Conflict):
        # Outdated: a later job has built it since. Conflict: machines use its bridge there.
        await saga.ask(Networking, at=host).ensure_no_router(id)
