"""Physical networks of a zone, and the kinds of traffic each carries."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Ref
from csnode.model.owner import Operators, Ownership
from csnode.types import ZoneId


class PhysicalNetwork(Entity):
    """A network that hosts are cabled to; id: PhysicalNetworkId."""

    kind: ClassVar[str] = "physical_network"
    owned_by: ClassVar[Ownership] = Operators()

    zone: Annotated[ZoneId, Key(), Ref(to="zone")]
    name: str
    enabled: bool = True
    isolation: tuple[str, ...] = ("VXLAN",)
    vlan: str = ""
    speed: str = ""
    tags: tuple[str, ...] = ()
    created: float = 0.0


class TrafficType(Entity):
    """A kind of traffic on a physical network; id: TrafficTypeId."""

    kind: ClassVar[str] = "traffic_type"
    owned_by: ClassVar[Ownership] = Operators()

    physical_network: Annotated[str, Key(), Ref(to="physical_network")]
    type: str  # Guest, Public, Management or Storage
    label: str = ""  # the bridge or interface that carries it on the hosts
    created: float = 0.0
