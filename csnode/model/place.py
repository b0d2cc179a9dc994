"""Where things are: zones, pods, clusters."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Ref
from csnode.model.owner import Everyone, Operators, Ownership
from csnode.types import PodId, ZoneId


class Zone(Entity):
    """A data centre; id: ZoneId."""

    kind: ClassVar[str] = "zone"
    owned_by: ClassVar[Ownership] = Everyone()

    name: Annotated[str, Key(unique=True)]
    dns1: str = ""
    dns2: str = ""
    internal_dns1: str = ""
    internal_dns2: str = ""
    network_domain: str = ""  # DNS suffix of its machines; "": what their network says
    guest_cidr: str = "10.1.1.0/24"
    public_cidr: str = ""  # of the addresses that routers take; "": no way out
    public_gateway: str = ""
    enabled: bool = True
    created: float = 0.0


class Pod(Entity):
    """A rack; id: PodId."""

    kind: ClassVar[str] = "pod"
    owned_by: ClassVar[Ownership] = Operators()

    zone: Annotated[ZoneId, Key(), Ref(to="zone")]
    name: str
    gateway: str = ""
    netmask: str = ""
    start_ip: str = ""
    end_ip: str = ""
    enabled: bool = True
    created: float = 0.0


class Cluster(Entity):
    """Hosts of one kind that share storage; id: ClusterId."""

    kind: ClassVar[str] = "cluster"
    owned_by: ClassVar[Ownership] = Operators()

    zone: Annotated[ZoneId, Key(), Ref(to="zone")]
    pod: Annotated[PodId, Ref(to="pod")]
    name: str
    hypervisor: str = "KVM"
    cpu_overcommit: float = 1.0
    memory_overcommit: float = 1.0
    enabled: bool = True
    created: float = 0.0
