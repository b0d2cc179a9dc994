"""createNetwork, listNetworks, deleteNetwork."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, ClassVar, NewType

from csnode.api.about import About, By, Free, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ProjectId, ProjectList, Test
from csnode.api.parse import NO_ID, no_such
from csnode.api.reach import OF_OWNER, owner
from csnode.api.refers import REFERS
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.faults import Denied, Full, Invalid
from csnode.model import rules
from csnode.model.identity import Account, Domain
from csnode.model.ids import guest_addresses, public_addresses, vnis
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.offering import ISOLATED, SOURCE_NAT, NetworkOffering
from csnode.model.orders import ImplementNetwork, ShutdownNetwork
from csnode.model.place import Zone
from csnode.model.stock import Range, RangeForm
from csnode.model.vm import Vm
from csnode.types import AccountId, DomainId, NetworkId, NetworkOfferingId, Struct, ZoneId
from csnode.uuids import id_of, new_id
from roles.api.views.network import NetworkView, state_in

VpcId = NewType("VpcId", str)
REFERS[VpcId] = Free("there are no VPCs: no id but -1 is taken")


class Plan(Struct):
    """The addresses of a network: its own, its gateway's, and those its machines get."""

    cidr: str
    gateway: str
    low: int
    high: int


@command(
    "listNetworks",
    answers=Answers.LIST,
    shows=NetworkView,
    java="org.apache.cloudstack.api.command.user.network.ListNetworksCmd",
)
class ListNetworks(ProjectList):
    """Lists networks."""

    shown: ClassVar[type[Shown]] = NetworkView

    id: Annotated[NetworkId | None, About("the id of the network")] = None
    name: Annotated[str | None, About("the name of the network"), By("name")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    type: Annotated[str | None, About("Isolated, Shared or L2")] = None
    traffic_type: Annotated[str | None, About("Guest")] = None
    acl_type: Annotated[str | None, About("Account or Domain")] = None
    network_offering_id: Annotated[
        NetworkOfferingId | None, About("of this offering"), By("offering")
    ] = None
    can_use_for_deploy: Annotated[bool | None, About("that machines can be put in")] = None
    is_system: Annotated[bool | None, About("that the cloud uses itself: none")] = None
    for_vpc: Annotated[bool | None, About("that are tiers of a VPC: none")] = None
    vpc_id: Annotated[VpcId | None, About("that are tiers of this VPC: none")] = None
    supported_services: Annotated[tuple[str, ...] | None, About("with all these services")] = None

    def tests(self, call: Call) -> list[Test]:
        view, tests = call.view, list[Test]()
        if self.is_system or self.for_vpc or (self.acl_type or "account").lower() != "account":
            tests.append(lambda _: False)
        if self.vpc_id and self.vpc_id != NO_ID:
            raise no_such(call.asked.command, "vpcid", self.vpc_id)
        if self.type and self.type.lower() != "isolated":
            tests.append(lambda _: False)
        if self.traffic_type and self.traffic_type.lower() != "guest":
            tests.append(lambda _: False)
        if self.can_use_for_deploy is not None:
            usable = self.can_use_for_deploy
            tests.append(lambda row: row.gone is not usable)
        if self.supported_services:
            wanted = set(self.supported_services)
            tests.append(
                lambda row: wanted <= set(view.get(NetworkOffering, row.offering).services)
            )
        return tests


@command(
    "createNetwork",
    answers=Answers.ENTITY,
    shows=NetworkView,
    event="NETWORK.CREATE",
    java="org.apache.cloudstack.api.command.user.network.CreateNetworkCmd",
)
class CreateNetwork(ApiCommand):
    """Creates a network; its router is built with its first machine."""

    name: Annotated[str, About("its name")]
    zone_id: Annotated[ZoneId, About("the zone it is to be in")]
    network_offering_id: Annotated[NetworkOfferingId, About("its offering")]
    display_text: Annotated[str | None, About("its text; the name if left out")] = None
    gateway: Annotated[str | None, About("its gateway; goes with netmask")] = None
    netmask: Annotated[str | None, About("its netmask; goes with gateway")] = None
    start_ip: Annotated[str | None, About("the first address for machines")] = None
    end_ip: Annotated[str | None, About("the last address for machines")] = None
    network_domain: Annotated[str | None, About("the DNS suffix of its machines")] = None
    account: Annotated[str | None, About("whose it is to be; goes with domainid")] = None
    domain_id: Annotated[DomainId | None, About("the domain of that account"), OF_OWNER] = None
    project_id: Annotated[ProjectId | None, About("the project it is for: there are none")] = None
    vpc_id: Annotated[VpcId | None, About("the VPC it is a tier of: there are none")] = None

    async def run(self, call: Call) -> Network:
        if self.project_id or self.vpc_id:
            name, value = ("projectid", self.project_id) if self.project_id else (
                "vpcid", self.vpc_id)  # fmt: skip
            raise no_such(call.asked.command, name, value or "")
        account = owner(call.caller, call.view, self.account or "", self.domain_id)
        call.note(owner=account)
        zone = call.view.get(Zone, self.zone_id)
        return new_network(
            call,
            id=call.new_id(),
            name=self.name,
            text=self.display_text or self.name,
            account=account,
            zone=zone,
            offering=call.view.get(NetworkOffering, self.network_offering_id),
            plan=self._plan(zone),
            suffix=rules.network_domain(self.network_domain) if self.network_domain else "",
        )

    def _plan(self, zone: Zone) -> Plan:
        if bool(self.gateway) != bool(self.netmask):
            raise Invalid("gateway and netmask must be given together")
        if not self.gateway or not self.netmask:
            if self.start_ip or self.end_ip:
                raise Invalid("startip and endip need gateway and netmask")
            return default_plan(zone)
        return plan(self.gateway, self.netmask, self.start_ip, self.end_ip)


@command(
    "deleteNetwork",
    answers=Answers.JOB,
    event="NETWORK.DELETE",
    java="org.apache.cloudstack.api.command.user.network.DeleteNetworkCmd",
)
class DeleteNetwork(ApiCommand):
    """Deletes a network that no machine is in."""

    id: Annotated[NetworkId, About("the id of the network")]
    forced: Annotated[bool, About("even if its router does not answer")] = False

    async def run(self, call: Call) -> Job:
        row = call.seen(Network, self.id)
        machines = [call.view.maybe(Vm, nic.vm) for nic in call.view.by(Nic, "network", row.id)]
        names = sorted(vm.name for vm in machines if vm is not None)
        if names:
            raise Invalid(
                "Can't delete the network, not all user vms are expunged: "
                + ", ".join(names[:10])
                + (", ..." if len(names) > 10 else "")
            )
        call.note(owner=call.view.maybe(Account, row.account))
        call.change.update(Network, row.id, revision=row.revision, gone=True)
        return call.order(ShutdownNetwork(network=self.id, remove=True))


def new_network(
    call: Call,
    *,
    id: str,
    name: str,
    text: str,
    account: Account,
    zone: Zone,
    offering: NetworkOffering,
    plan: Plan,
    suffix: str = "",
) -> Network:
    """Add a network to the change: its row, its range of addresses, its VNI and public address."""
    if not zone.enabled and call.caller.rank is not Rank.ROOT_ADMIN:
        raise Denied(f"Cannot perform this operation, Zone is currently disabled: {zone.name}")
    if not offering.enabled or offering.guest_type != ISOLATED:
        raise Invalid(f"networkofferingid: networks of {offering.name} cannot be created")
    if zone.public_cidr:
        rules.check_apart(IPv4Network(plan.cidr), IPv4Network(zone.public_cidr))
    domain = call.view.maybe(Domain, account.domain)
    inherited = account.network_domain or (domain.network_domain if domain else "")
    row = call.change.create(
        Network(
            id=id,
            name=name,
            display_text=text,
            account=AccountId(account.id),
            domain=account.domain,
            zone=ZoneId(zone.id),
            offering=NetworkOfferingId(offering.id),
            cidr=plan.cidr,
            gateway=plan.gateway,
            network_domain=suffix or inherited or f"cs{account.id[:8]}.cloud.internal",
            created=wall(),
        )
    )
    addresses = Range(id=guest_addresses(row.id), low=plan.low, high=plan.high, form=RangeForm.IPV4)
    call.change.create(addresses)
    gateway = int(IPv4Address(plan.gateway))
    if plan.low <= gateway <= plan.high:  # no machine may get it
        call.change.take(addresses.id, row.id, wish=gateway)
    call.change.take(vnis(zone.id), row.id, (row, "vni"))
    if SOURCE_NAT in offering.services:
        if call.view.maybe(Range, public_addresses(zone.id)) is None:
            raise Full(f"the zone {zone.name} has no public addresses", cs=4320)
        call.change.take(public_addresses(zone.id), row.id, (row, "public_address"))
    if offering.persistent:
        call.order(ImplementNetwork(network=NetworkId(row.id)), aside=True)
    return row


def plan(gateway: str, netmask: str, start: str | None, end: str | None) -> Plan:
    """Return the addresses of a network that says which."""
    network = rules.network_of(gateway, netmask)
    rules.guest_network(str(network), gateway)
    door = IPv4Address(gateway)
    first, last = network.network_address + 1, network.broadcast_address - 1
    low = _inside(start, "startip", first, last) if start else first
    high = _inside(end, "endip", first, last) if end else (low if start else last)
    if low > high:
        raise Invalid(f"startip {start} lies behind endip {end}")
    low, high = int(low), int(high)
    if low == int(door) < high:
        low += 1
    elif high == int(door) > low:
        high -= 1
    if low == high == int(door):
        raise Invalid("startip and endip leave no address for machines but the gateway's")
    return Plan(cidr=str(network), gateway=gateway, low=low, high=high)


def default_plan(zone: Zone) -> Plan:
    """Return the addresses of a network that does not say: the zone's, the gateway's first."""
    network = IPv4Network(zone.guest_cidr, strict=False)
    return plan(str(network.network_address + 1), str(network.netmask), None, None)


def usable(call: Call, id: NetworkId, account: Account, zone: Zone) -> Network:
    """Return a network that the account's machines in the zone may be put in."""
    row = call.seen(Network, id, "networkids")
    if row.account != account.id:
        raise Denied(f"Unable to use network with id= {id}, permission denied")
    if row.zone != zone.id:
        raise Invalid(f"Network {row.name} doesn't belong to zone {zone.name}")
    if row.gone:
        raise Invalid(f"Network {row.name} is in state {state_in(call.view, row)}")
    return row


def own_network(call: Call, account: Account, zone: Zone, offering: NetworkOffering) -> Network:
    """Return the account's only network in the zone; make one if it has none.

    Its id follows from account and zone, so that two first machines do not make two networks.
    """
    held = [
        row
        for row in call.view.by(Network, "account", account.id)
        if row.zone == zone.id and not row.gone
    ]
    if len(held) > 1:
        raise Invalid(
            f"More than 1 default Isolated networks are found for account {account.name}; "
            "please specify networkIds"
        )
    if held:
        return held[0]
    id = id_of("network", account.id, zone.id)
    name = f"{account.name}-network"
    return new_network(
        call,
        id=id if call.view.maybe(Network, id) is None else new_id(),
        name=name,
        text=name,
        account=account,
        zone=zone,
        offering=offering,
        plan=default_plan(zone),
    )


def _inside(text: str, name: str, first: IPv4Address, last: IPv4Address) -> IPv4Address:
    address = rules.ipv4_address(text, name)
    if not first <= address <= last:
        raise Invalid(f"{name} {text} is not between {first} and {last}")
    return address
