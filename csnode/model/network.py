"""Guest networks, and the cards that plug machines into them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key, Leaves, Ref
from csnode.model.owner import ByAccount, Ownership, Through
from csnode.types import AccountId, DomainId, HostId, NetworkId, NetworkOfferingId, VmId, ZoneId


class NetworkState(StrEnum):
    """What a network is shown to be; the words are CloudStack's."""

    ALLOCATED = "Allocated"
    IMPLEMENTING = "Implementing"
    IMPLEMENTED = "Implemented"
    SHUTDOWN = "Shutdown"
    DESTROY = "Destroy"


class Network(Entity):
    """An isolated guest network; id: NetworkId. Its router stands on one host."""

    kind: ClassVar[str] = "network"
    owned_by: ClassVar[Ownership] = ByAccount()

    name: str
    display_text: str = ""
    account: Annotated[AccountId, Key(), Ref(to="account")]
    domain: Annotated[DomainId, Ref(to="domain", pins=False)]  # its account pins it
    zone: Annotated[ZoneId, Ref(to="zone")]
    offering: Annotated[NetworkOfferingId, Ref(to="network_offering")]
    cidr: str
    gateway: str
    network_domain: str = ""
    gone: Annotated[bool, Leaves()] = False  # deleteNetwork asked for
    created: float = 0.0

    vni: int = 0  # taken from the zone's range
    public_address: str = ""  # source NAT, taken from the zone's range
    router: Annotated[HostId | None, Key(), Ref(to="host"), Fact(by="orchestrator")] = None
    up: Annotated[bool, Fact(by="orchestrator")] = False
    trouble: Annotated[str, Fact(by="orchestrator")] = ""


class Nic(Entity):
    """A card of a machine; id: NicId. Its address is taken from its network's range.

    `named` and `carded` make the machine's name and the card's MAC unique in the network, by
    constraint: two that are made at once cannot both have them. They are None while the machine
    has given them back.
    """

    kind: ClassVar[str] = "nic"
    owned_by: ClassVar[Ownership] = Through(column="vm")

    vm: Annotated[VmId, Key(), Ref(to="vm", part=True)]
    network: Annotated[NetworkId, Key(), Ref(to="network")]
    mac: str
    named: Annotated[str | None, Key(unique=True)] = None  # see ids.in_network
    carded: Annotated[str | None, Key(unique=True)] = None
    address: str = ""  # none while its machine has given back what it took (Vm.given_back)
    fixed: bool = False  # its owner asked for that address: no other will do
    last_address: str = ""  # that it gave back, and takes again if it is free
    index: int = 0
    default: bool = True
