"""Physical networks, traffic types, and public ranges."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Word
from csnode.api.view import Shown
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.place import Zone
from roles.api.views.place import allocation


class PhysicalNetworkView(Shown):
    """A physical network."""

    key: ClassVar[str] = "physicalnetwork"
    of: ClassVar[type[Entity]] = PhysicalNetwork

    id: Annotated[str, About("the id of the physical network")]
    name: Annotated[str, About("its name")]
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    state: Annotated[str, About("Enabled or Disabled")]
    broadcast_domain_range: Annotated[str, About("ZONE")]
    isolation_methods: Annotated[str, About("how guest networks are kept apart: VXLAN")]
    network_speed: Annotated[str | None, About("its speed, a note")] = None
    tags: Annotated[str | None, About("its tags")] = None
    vlan: Annotated[str | None, About("the numbers its guest networks take")] = None

    @classmethod
    def made(cls, row: PhysicalNetwork, view: View) -> PhysicalNetworkView:
        zone = view.maybe(Zone, row.zone)
        return cls(
            id=row.id,
            name=row.name,
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            state=allocation(row.enabled),
            broadcast_domain_range="ZONE",
            isolation_methods=",".join(row.isolation),
            network_speed=row.speed or None,
            tags=",".join(row.tags) or None,
            vlan=row.vlan or None,
        )


class TrafficTypeView(Shown):
    """A kind of traffic on a physical network."""

    key: ClassVar[str] = "traffictype"
    of: ClassVar[type[Entity]] = TrafficType

    id: Annotated[str, About("the id of the traffic type")]
    traffic_type: Annotated[str, About("Guest, Public, Management or Storage")]
    physical_network_id: Annotated[str, About("the physical network that carries it")]
    kvm_network_label: Annotated[str | None, About("the bridge that carries it on hosts")] = None

    @classmethod
    def made(cls, row: TrafficType, view: View) -> TrafficTypeView:
        del view
        return cls(
            id=row.id,
            traffic_type=row.type,
            physical_network_id=row.physical_network,
            kvm_network_label=row.label or None,
        )


class CarriedView(TrafficTypeView):
    """A kind of traffic as listTrafficTypes shows it: CloudStack documents other fields there.

    Its server answers those of addTrafficType all the same, and clients read both.
    """

    name: Annotated[str, About("Guest, Public, Management or Storage")]
    state: Annotated[str, About("Enabled")]

    @classmethod
    def made(cls, row: TrafficType, view: View) -> CarriedView:
        plain = TrafficTypeView.made(row, view)
        fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
        return cls(**fields, name=row.type, state="Enabled")


class PublicRangeView(Shown):
    """The public addresses of a zone, as CloudStack's VLAN IP range."""

    key: ClassVar[str] = "vlaniprange"
    of: ClassVar[type[Entity]] = Zone

    id: Annotated[str, About("the id of the range: its zone's")]
    zone_id: Annotated[str, About("the zone")]
    vlan: Annotated[str, About("vlan://untagged")]
    for_virtual_network: Annotated[bool, About("true: routers take from it")]
    gateway: Annotated[str, About("the gateway of the public network")]
    netmask: Annotated[str, About("its netmask")]
    cidr: Annotated[str, About("its prefix")]
    start_ip: Annotated[str, About("the first address to give away")]
    end_ip: Annotated[str, About("the last")]
    physical_network_id: Annotated[str | None, About("what carries it")] = None
    for_system_vms: Annotated[bool, About("false: there are none"), Word("boolean")] = False


class MadeRangeView(PublicRangeView):
    """The same, under the key that createVlanIpRange answers."""

    key: ClassVar[str] = "vlan"
