"""createVlanIpRange, listVlanIpRanges, deleteVlanIpRange: the public addresses of a zone.

A zone has one range of them: its routers take their public addresses from it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, NewType

from csnode.api.about import About, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.refers import REFERS
from csnode.api.shelf import Listing
from csnode.api.view import encoded
from csnode.data.view import View
from csnode.faults import Conflict, Invalid, NotFound
from csnode.model import rules
from csnode.model.ids import public_addresses
from csnode.model.network import Network
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.place import Zone
from csnode.model.stock import Range, RangeForm
from csnode.types import ZoneId
from roles.api.checks import check_span
from roles.api.commands.physical import PhysicalNetworkId
from roles.api.views.physical import MadeRangeView, PublicRangeView

PublicRangeId = NewType("PublicRangeId", str)
REFERS[PublicRangeId] = Zone  # a zone has one range


@command(
    "createVlanIpRange",
    answers=Answers.ENTITY,
    shows=MadeRangeView,
    allows=Rank.ROOT_ADMIN,
    event="VLAN.IP.RANGE.CREATE",
    java="org.apache.cloudstack.api.command.admin.vlan.CreateVlanIpRangeCmd",
)
class CreateVlanIpRange(ApiCommand):
    """Gives a zone its public addresses."""

    zone_id: Annotated[ZoneId | None, About("the zone")] = None
    physical_network_id: Annotated[PhysicalNetworkId | None, About("or what carries it")] = None
    gateway: Annotated[str | None, About("the gateway of the public network")] = None
    netmask: Annotated[str | None, About("its netmask")] = None
    start_ip: Annotated[str | None, About("the first address to give away")] = None
    end_ip: Annotated[str | None, About("the last; if left out, there is but one")] = None
    vlan: Annotated[str | None, About("untagged: tags are not offered")] = None
    for_virtual_network: Annotated[bool, About("true: routers take from it")] = True

    async def run(self, call: Call) -> PublicRangeView:
        zone = self._zone(call)
        if not self.for_virtual_network:
            raise Invalid("forvirtualnetwork=false: ranges of shared networks are not offered yet")
        if (self.vlan or "untagged").lower().removeprefix("vlan://") != "untagged":
            raise Invalid(f"vlan must be untagged, not {self.vlan}: bridge tagged networks outside")
        if zone.public_cidr:
            raise Conflict(f"zone {zone.name} has public addresses already: {zone.public_cidr}")
        network, first, last, gateway = self._span()
        self._check_apart(call, zone, network)
        call.change.update(
            Zone,
            zone.id,
            revision=zone.revision,
            public_cidr=str(network),
            public_gateway=str(gateway),
        )
        range = Range(
            id=public_addresses(zone.id), low=int(first), high=int(last), form=RangeForm.IPV4
        )
        call.change.create(range)
        call.note(about=zone)
        return _shown(call.view, zone.id, str(network), str(gateway), range)

    def again(self, call: Call) -> PublicRangeView | None:
        return _found(call.view, self._zone(call))

    def _zone(self, call: Call) -> Zone:
        if self.zone_id:
            return call.view.get(Zone, self.zone_id)
        if not self.physical_network_id:
            raise Invalid("zoneid or physicalnetworkid must be given")
        physical = call.seen(PhysicalNetwork, self.physical_network_id, "physicalnetworkid")
        return call.view.get(Zone, physical.zone)

    def _check_apart(self, call: Call, zone: Zone, public: IPv4Network) -> None:
        """Raise Invalid if guests have, or would have by default, addresses of the range."""
        guests = {n.cidr for n in call.view.by(Network, "zone", zone.id) if not n.gone}
        for cidr in sorted({zone.guest_cidr, *guests}):
            rules.check_apart(IPv4Network(cidr, strict=False), public)

    def _span(self) -> tuple[IPv4Network, IPv4Address, IPv4Address, IPv4Address]:
        given = {"gateway": self.gateway, "netmask": self.netmask, "startip": self.start_ip}
        lacking = ", ".join(name for name, value in given.items() if not value)
        if lacking:
            raise Invalid(f"{lacking}: must be given")
        gateway, start = self.gateway or "", self.start_ip or ""
        network = rules.network_of(gateway, self.netmask or "")
        rules.public_range(str(network), gateway)
        first = rules.host_in(start, network, "startip")
        last = rules.host_in(self.end_ip or start, network, "endip")
        check_span(first, last, IPv4Address(gateway))
        return network, first, last, IPv4Address(gateway)


@command(
    "deleteVlanIpRange",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="VLAN.IP.RANGE.DELETE",
    java="org.apache.cloudstack.api.command.admin.vlan.DeleteVlanIpRangeCmd",
)
class DeleteVlanIpRange(ApiCommand):
    """Takes a zone's public addresses away, if no network has one."""

    id: Annotated[PublicRangeId, About("the id of the range: its zone's")]

    async def run(self, call: Call) -> None:
        zone = call.view.maybe(Zone, self.id)
        range = call.view.maybe(Range, public_addresses(self.id))
        if zone is None or range is None:
            raise NotFound(f"there is no range of public addresses with the id {self.id}")
        users = [n for n in call.view.by(Network, "zone", zone.id) if n.public_address]
        if users:
            raise Conflict(f"{len(users)} networks have addresses of it, {users[0].name} for one")
        columns = {"public_cidr": "", "public_gateway": ""}
        call.change.update(Zone, zone.id, revision=zone.revision, **columns)
        call.change.delete(Range, range.id, revision=range.revision)
        call.note(about=zone)


@command(
    "listVlanIpRanges",
    answers=Answers.LIST,
    shows=PublicRangeView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.vlan.ListVlanIpRangesCmd",
)
class ListVlanIpRanges(ApiCommand):
    """Lists the public addresses of zones."""

    id: Annotated[PublicRangeId | None, About("the id of the range")] = None
    zone_id: Annotated[ZoneId | None, About("of this zone")] = None
    physical_network_id: Annotated[PhysicalNetworkId | None, About("of this network")] = None
    for_virtual_network: Annotated[bool, About("false: those of shared networks: none")] = True

    async def run(self, call: Call) -> Listing:
        view = call.view
        zones = [z for z in view.all(Zone) if not self.zone_id or z.id == self.zone_id]
        found = [_found(view, z) for z in sorted(zones, key=lambda z: z.name)]
        shown = [
            each
            for each in found
            if each is not None
            and self.for_virtual_network
            and (not self.id or each.id == self.id)
            and self.physical_network_id in (None, each.physical_network_id)
        ]
        return Listing(count=len(shown), rows=[encoded(each) for each in shown])


def _found(view: View, zone: Zone) -> PublicRangeView | None:
    range = view.maybe(Range, public_addresses(zone.id))
    if range is None or not zone.public_cidr:
        return None
    return _shown(view, zone.id, zone.public_cidr, zone.public_gateway, range)


def _shown(view: View, zone: str, cidr: str, gateway: str, range: Range) -> PublicRangeView:
    return PublicRangeView(
        id=zone,
        zone_id=zone,
        vlan="vlan://untagged",
        for_virtual_network=True,
        gateway=gateway,
        netmask=str(IPv4Network(cidr).netmask),
        cidr=cidr,
        start_ip=str(IPv4Address(range.low)),
        end_ip=str(IPv4Address(range.high)),
        physical_network_id=_carrier(view, zone),
    )


def _carrier(view: View, zone: str) -> str | None:
    """Return the zone's physical network that carries public traffic; the only one there is."""
    networks = sorted(view.by(PhysicalNetwork, "zone", zone), key=lambda n: n.created)
    for network in networks:
        types = view.by(TrafficType, "physical_network", network.id)
        if any(type.type == "Public" for type in types):
            return network.id
    return networks[0].id if networks else None
