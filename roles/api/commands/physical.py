"""Physical networks and their traffic types. csnode's hosts tunnel guest networks over IP, so
these records say what operators mean; `vlan` is the range of VXLAN numbers that networks take.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, NewType

from csnode.api.about import About, By, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ListCommand
from csnode.api.refers import REFERS
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.faults import Conflict, Invalid
from csnode.model.ids import vnis
from csnode.model.job import Job
from csnode.model.network import Network
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.stock import Range
from csnode.types import ZoneId
from roles.api.checks import check_free, enabled_of, tags_of
from roles.api.views.physical import CarriedView, PhysicalNetworkView, TrafficTypeView

PhysicalNetworkId = NewType("PhysicalNetworkId", str)
REFERS[PhysicalNetworkId] = PhysicalNetwork
TrafficTypeId = NewType("TrafficTypeId", str)
REFERS[TrafficTypeId] = TrafficType
TRAFFIC = ("Guest", "Public", "Management", "Storage")
VNI_MAX = (1 << 24) - 1  # RFC 7348


@command(
    "createPhysicalNetwork",
    answers=Answers.CREATED,
    shows=PhysicalNetworkView,
    allows=Rank.ROOT_ADMIN,
    event="PHYSICAL.NETWORK.CREATE",
    java="org.apache.cloudstack.api.command.admin.network.CreatePhysicalNetworkCmd",
)
class CreatePhysicalNetwork(ApiCommand):
    """Creates a physical network. Its guest networks are kept apart by VXLAN."""

    zone_id: Annotated[ZoneId, About("the zone it is in")]
    name: Annotated[str, About("its name")]
    isolation_methods: Annotated[tuple[str, ...] | None, About("VXLAN: there are no others")] = None
    vlan: Annotated[str | None, About("VXLAN numbers that guest networks take, 1000-2000")] = None
    network_speed: Annotated[str | None, About("a note")] = None
    tags: Annotated[tuple[str, ...] | None, About("its tags")] = None
    broadcast_domain_range: Annotated[str | None, About("ZONE: there are no others")] = None

    async def run(self, call: Call) -> Job:
        check_free(call, PhysicalNetwork, self.name, zone=self.zone_id)
        others = [m for m in self.isolation_methods or () if m.upper() != "VXLAN"]
        if others:
            raise Invalid(f"isolationmethods: {', '.join(others)} is not offered; VXLAN is")
        if (self.broadcast_domain_range or "ZONE").upper() != "ZONE":
            raise Invalid("broadcastdomainrange must be ZONE")
        _set_numbers(call, self.zone_id, self.vlan)
        network = PhysicalNetwork(
            id=call.new_id(),
            zone=self.zone_id,
            name=self.name,
            vlan=self.vlan or "",
            speed=self.network_speed or "",
            tags=tags_of(self.tags),
            created=wall(),
        )
        return call.done(call.change.create(network))


@command(
    "updatePhysicalNetwork",
    answers=Answers.JOB,
    shows=PhysicalNetworkView,
    allows=Rank.ROOT_ADMIN,
    event="PHYSICAL.NETWORK.UPDATE",
    java="org.apache.cloudstack.api.command.admin.network.UpdatePhysicalNetworkCmd",
)
class UpdatePhysicalNetwork(ApiCommand):
    """Changes a physical network."""

    id: Annotated[PhysicalNetworkId, About("the id of the physical network")]
    state: Annotated[str | None, About("Enabled or Disabled")] = None
    vlan: Annotated[str | None, About("VXLAN numbers that guest networks take")] = None
    network_speed: Annotated[str | None, About("a note")] = None
    tags: Annotated[tuple[str, ...] | None, About("its tags")] = None

    async def run(self, call: Call) -> Job:
        network = call.seen(PhysicalNetwork, self.id)
        news: dict[str, Any] = {"enabled": enabled_of(self.state, network.enabled)}
        if self.vlan:
            _set_numbers(call, network.zone, self.vlan)
            news["vlan"] = self.vlan
        if self.network_speed is not None:
            news["speed"] = self.network_speed
        if self.tags is not None:
            news["tags"] = self.tags
        call.change.update(PhysicalNetwork, network.id, revision=network.revision, **news)
        return call.done(network)


@command(
    "deletePhysicalNetwork",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="PHYSICAL.NETWORK.DELETE",
    java="org.apache.cloudstack.api.command.admin.network.DeletePhysicalNetworkCmd",
)
class DeletePhysicalNetwork(ApiCommand):
    """Deletes a physical network, with its traffic types, from a zone without guest networks."""

    id: Annotated[PhysicalNetworkId, About("the id of the physical network")]

    async def run(self, call: Call) -> Job:
        network = call.seen(PhysicalNetwork, self.id)
        others = [n for n in call.view.by(PhysicalNetwork, "zone", network.zone) if n != network]
        guests = call.view.by(Network, "zone", network.zone)
        if guests and not others:
            raise Conflict(f"{len(guests)} guest networks of its zone need {network.name}")
        for type in call.view.by(TrafficType, "physical_network", network.id):
            call.change.delete(TrafficType, type.id, revision=type.revision)
        call.change.delete(PhysicalNetwork, network.id, revision=network.revision)
        return call.done(network)


@command(
    "listPhysicalNetworks",
    answers=Answers.LIST,
    shows=PhysicalNetworkView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.network.ListPhysicalNetworksCmd",
)
class ListPhysicalNetworks(ListCommand):
    """Lists physical networks."""

    shown: ClassVar[type[Shown]] = PhysicalNetworkView

    id: Annotated[PhysicalNetworkId | None, About("the id of the physical network")] = None
    name: Annotated[str | None, About("its name"), By("name")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None


@command(
    "addTrafficType",
    answers=Answers.CREATED,
    shows=TrafficTypeView,
    allows=Rank.ROOT_ADMIN,
    event="TRAFFIC.TYPE.CREATE",
    java="org.apache.cloudstack.api.command.admin.usage.AddTrafficTypeCmd",
)
class AddTrafficType(ApiCommand):
    """Says that a physical network carries a kind of traffic."""

    physical_network_id: Annotated[PhysicalNetworkId, About("the physical network")]
    traffic_type: Annotated[str, About("Guest, Public, Management or Storage")]
    kvm_network_label: Annotated[str | None, About("the bridge that carries it on hosts")] = None
    isolation_method: Annotated[str | None, About("VXLAN: there are no others")] = None
    vlan: Annotated[str | None, About("none: the tunnels are IP")] = None

    async def run(self, call: Call) -> Job:
        network = call.seen(PhysicalNetwork, self.physical_network_id, "physicalnetworkid")
        kind = next((t for t in TRAFFIC if t.lower() == self.traffic_type.lower()), "")
        if not kind:
            raise Invalid(f"traffictype must be one of {', '.join(TRAFFIC)}")
        for other in call.view.by(TrafficType, "physical_network", network.id):
            if other.type == kind:
                raise Conflict(f"{network.name} carries {kind} traffic already", code=431, cs=4350)
        type = TrafficType(
            id=call.new_id(),
            physical_network=network.id,
            type=kind,
            label=self.kvm_network_label or "",
            created=wall(),
        )
        return call.done(call.change.create(type))


@command(
    "updateTrafficType",
    answers=Answers.JOB,
    shows=TrafficTypeView,
    allows=Rank.ROOT_ADMIN,
    event="TRAFFIC.TYPE.UPDATE",
    java="org.apache.cloudstack.api.command.admin.usage.UpdateTrafficTypeCmd",
)
class UpdateTrafficType(ApiCommand):
    """Changes what carries a kind of traffic."""

    id: Annotated[TrafficTypeId, About("the id of the traffic type")]
    kvm_network_label: Annotated[str | None, About("the bridge that carries it on hosts")] = None

    async def run(self, call: Call) -> Job:
        type = call.seen(TrafficType, self.id)
        label = type.label if self.kvm_network_label is None else self.kvm_network_label
        call.change.update(TrafficType, type.id, revision=type.revision, label=label)
        return call.done(type)


@command(
    "deleteTrafficType",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="TRAFFIC.TYPE.DELETE",
    java="org.apache.cloudstack.api.command.admin.usage.DeleteTrafficTypeCmd",
)
class DeleteTrafficType(ApiCommand):
    """Says that a physical network carries a kind of traffic no more."""

    id: Annotated[TrafficTypeId, About("the id of the traffic type")]

    async def run(self, call: Call) -> Job:
        type = call.seen(TrafficType, self.id)
        call.change.delete(TrafficType, type.id, revision=type.revision)
        return call.done(type)


@command(
    "listTrafficTypes",
    answers=Answers.LIST,
    shows=CarriedView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.usage.ListTrafficTypesCmd",
)
class ListTrafficTypes(ListCommand):
    """Lists the traffic types of a physical network."""

    shown: ClassVar[type[Shown]] = CarriedView

    physical_network_id: Annotated[
        PhysicalNetworkId, About("the physical network"), By("physical_network")
    ]


def _set_numbers(call: Call, zone: str, vlan: str | None) -> None:
    """Take VXLAN numbers for the zone's guest networks from there. Raises Invalid, Conflict."""
    if not vlan:
        return
    found = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", vlan)
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < low <= high <= VNI_MAX:
        raise Invalid(f"vlan must be one range like 1000-2000, up to {VNI_MAX}, not {vlan}")
    used = [n for n in call.view.by(Network, "zone", zone) if n.vni and not low <= n.vni <= high]
    if used:
        raise Conflict(f"vlan: network {used[0].name} has the number {used[0].vni}, outside {vlan}")
    range = call.view.get(Range, vnis(zone))
    call.change.update(Range, range.id, revision=range.revision, low=low, high=high)
