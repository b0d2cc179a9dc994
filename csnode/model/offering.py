"""Offerings and operating system types: what a user may choose from."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Leaves, Ref
from csnode.model.owner import Everyone, OfferedTo, Ownership
from csnode.types import DomainId

ISOLATED = "Isolated"  # the guest type of networks with a router of their own
SOURCE_NAT = "SourceNat"  # the service that gives a network a public address


class Offering(Entity):
    """A size that machines come in; id: OfferingId."""

    kind: ClassVar[str] = "offering"
    owned_by: ClassVar[Ownership] = OfferedTo()

    name: str
    display_text: str = ""
    cpus: int
    cpu_mhz: int = 1000
    memory_mib: int
    root_gib: int = 0  # 0: as large as the template
    offer_ha: bool = False
    limit_cpu: bool = False
    volatile: bool = False
    tags: tuple[str, ...] = ()
    host_tags: tuple[str, ...] = ()
    domain: Annotated[DomainId | None, Ref(to="domain")] = None
    network_rate: int | None = None
    removed: Annotated[bool, Leaves(used=True)] = False  # what has it keeps it
    created: float = 0.0


class DiskOffering(Entity):
    """A size that data disks come in; id: DiskOfferingId."""

    kind: ClassVar[str] = "disk_offering"
    owned_by: ClassVar[Ownership] = OfferedTo()

    name: str
    display_text: str = ""
    gib: int = 0
    custom: bool = False
    tags: tuple[str, ...] = ()
    domain: Annotated[DomainId | None, Ref(to="domain")] = None
    removed: Annotated[bool, Leaves(used=True)] = False  # what has it keeps it
    created: float = 0.0


class NetworkOffering(Entity):
    """A kind of network, and the services that come with it; id: NetworkOfferingId."""

    kind: ClassVar[str] = "network_offering"
    owned_by: ClassVar[Ownership] = Everyone()

    name: str
    display_text: str = ""
    guest_type: str = ISOLATED
    services: tuple[str, ...] = ()
    persistent: bool = False  # implemented at once, not with the first machine
    is_default: bool = False
    enabled: bool = True
    created: float = 0.0


class OsType(Entity):
    """A guest operating system; id: OsTypeId."""

    kind: ClassVar[str] = "os_type"
    owned_by: ClassVar[Ownership] = Everyone()

    name: str
    category: str = ""
