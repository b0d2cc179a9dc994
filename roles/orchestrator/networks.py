"""Networks and images, as components are told of them; and how a network comes to stand."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from csnode.contracts.networking import Networking
from csnode.faults import Conflict, Outdated, Stale
from csnode.model.machine import GuestNetwork, Image
from csnode.model.network import Network
from csnode.model.place import Zone
from csnode.model.template import Template
from csnode.saga.saga import Saga
from csnode.types import HostId, NetworkId, TemplateId


def guest_network(network: Network, zone: Zone) -> GuestNetwork:
    """All there is to say about a network and its router."""
    return GuestNetwork(
        network=NetworkId(network.id),
        name=network.name,
        vni=network.vni,
        cidr=network.cidr,
        gateway=network.gateway,
        domain=network.network_domain or "cs.internal",
        dns=tuple(dns for dns in (zone.dns1, zone.dns2) if dns),
        public_address=network.public_address,
        public_cidr=zone.public_cidr,
        public_gateway=zone.public_gateway,
    )


def image_of(template: Template) -> Image:
    """What storage is told of a template."""
    return Image(
        template=TemplateId(template.id),
        url=template.url,
        format=template.format,
        checksum=template.checksum,
    )


async def ensure_network(saga: Saga[Any], id: NetworkId, host: HostId) -> None:
    """The network's router stands: where it stood, or on the given host if it is new.

    Two machines may come to one new network at once: the revision of its row lets one of them
    choose the host, and telling the router twice is telling it once.
    """
    while True:
        network = await saga.store.get(Network, id)
        if network.gone:
            raise Conflict(f"network {network.name} is being deleted")
        try:
            if network.router is None:
                change = saga.store.change()
                change.update(Network, id, revision=network.revision, router=host)
                await change.commit()
                continue
            zone = saga.view.get(Zone, network.zone)
            await saga.ask(Networking, at=network.router).ensure_router(
                guest_network(network, zone)
            )
            if not network.up:
                change = saga.store.change()
                change.update(Network, id, revision=network.revision, up=True, trouble="")
                await change.commit()
        except Stale:
            continue
        return


async def drop_unfinished(saga: Saga[Any], id: NetworkId) -> None:
    """A router that never came up goes; one that serves stays, for it may serve others."""
    network = await saga.store.get(Network, id)
    if network.up or network.router is None:
        return
    change = saga.store.change()
    change.update(Network, id, revision=network.revision, router=None)
    try:
        await change.commit()
    except Stale:
        return  # somebody else is at it, and means to keep it
    with suppress(Outdated):  # a later job has built it since
        await saga.ask(Networking, at=network.router).ensure_no_router(id)
