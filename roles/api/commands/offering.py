"""Service, disk and network offerings, and operating system types."""

from __future__ import annotations

from typing import Annotated, ClassVar, NewType, TypeVar

from csnode.api.about import About, By, Free, Long, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ListCommand, ProjectList, Test
from csnode.api.reach import ALL, Scope, within
from csnode.api.refers import REFERS
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.faults import Invalid
from csnode.model import rules
from csnode.model.offering import ISOLATED, SOURCE_NAT, DiskOffering, NetworkOffering, Offering
from csnode.model.vm import Vm
from csnode.types import (
    DiskOfferingId,
    DomainId,
    NetworkId,
    NetworkOfferingId,
    OfferingId,
    OsTypeId,
    VmId,
    ZoneId,
)
from roles.api.checks import tags_of
from roles.api.views.offering import (
    DiskOfferingView,
    NetworkOfferingView,
    OsTypeView,
    ServiceOfferingView,
    category_id,
)

AnOffering = TypeVar("AnOffering", Offering, DiskOffering)
OsCategoryId = NewType("OsCategoryId", str)
REFERS[OsCategoryId] = Free("a category is no row: its id follows from its name")


class OfferingList(ProjectList):
    """Offerings belong to a domain or to all; account and listall narrow nothing."""

    name: Annotated[str | None, About("the name of the offering"), By("name")] = None
    zone_id: Annotated[ZoneId | None, About("offered in this zone: all are")] = None
    state: Annotated[str | None, About("Active (if left out), Inactive or All")] = None

    def scope(self, call: Call) -> Scope:
        del call
        return ALL

    def tests(self, call: Call) -> list[Test]:
        state, caller, view = (self.state or "active").lower(), call.caller, call.view
        tests: list[Test] = []
        if state != "all":
            tests.append(lambda row: row.removed is (state == "inactive"))
        if caller.rank is not Rank.ROOT_ADMIN:
            tests.append(lambda row: not row.domain or within(view, caller.domain, row.domain))
        if self.domain_id:
            wanted = self.domain_id
            tests.append(lambda row: row.domain == wanted)
        return tests


@command(
    "listServiceOfferings",
    answers=Answers.LIST,
    shows=ServiceOfferingView,
    java="org.apache.cloudstack.api.command.user.offering.ListServiceOfferingsCmd",
)
class ListServiceOfferings(OfferingList):
    """Lists the sizes that machines come in."""

    shown: ClassVar[type[Shown]] = ServiceOfferingView

    id: Annotated[OfferingId | None, About("the id of the offering")] = None
    virtual_machine_id: Annotated[VmId | None, About("others than this machine's")] = None
    is_system: Annotated[bool, About("those of system machines: none")] = False
    system_vm_type: Annotated[str | None, About("those of such system machines: none")] = None
    cpu_number: Annotated[int | None, About("with so many processors"), By("cpus")] = None
    cpu_speed: Annotated[int | None, About("with so many MHz"), By("cpu_mhz")] = None
    memory: Annotated[int | None, About("with so much memory, MiB"), By("memory_mib")] = None

    def tests(self, call: Call) -> list[Test]:
        tests = OfferingList.tests(self, call)
        if self.is_system or self.system_vm_type:
            tests.append(lambda _: False)
        if self.virtual_machine_id:
            now = call.view.get(Vm, self.virtual_machine_id).offering
            tests.append(lambda row: row.id != now)
        return tests


@command(
    "createServiceOffering",
    answers=Answers.ENTITY,
    shows=ServiceOfferingView,
    allows=Rank.ROOT_ADMIN,
    event="SERVICE.OFFERING.CREATE",
    java="org.apache.cloudstack.api.command.admin.offering.CreateServiceOfferingCmd",
)
class CreateServiceOffering(ApiCommand):
    """Creates a size that machines come in."""

    name: Annotated[str, About("its name")]
    display_text: Annotated[str | None, About("its text; the name if left out")] = None
    cpu_number: Annotated[int | None, About("processors")] = None
    cpu_speed: Annotated[int | None, About("MHz of each")] = None
    memory: Annotated[int | None, About("MiB")] = None
    root_disk_size: Annotated[Long, About("GiB; 0: as large as the template")] = 0
    offer_ha: Annotated[bool, About("restart machines elsewhere if a host fails")] = False
    limit_cpu_use: Annotated[bool, About("cpuspeed is a limit too")] = False
    is_volatile: Annotated[bool, About("make the root disk anew at each start")] = False
    host_tags: Annotated[str | None, About("tags its hosts must have, with commas")] = None
    tags: Annotated[str | None, About("tags its pools must have, with commas")] = None
    domain_id: Annotated[tuple[DomainId, ...], About("only for this domain")] = ()
    network_rate: Annotated[int | None, About("Mbit/s")] = None

    async def run(self, call: Call) -> Offering:
        if len(self.domain_id) > 1:
            raise Invalid("domainid: an offering is for one domain, or for all")
        cpus = rules.cpus(self.cpu_number, "cpunumber")
        mhz = rules.cpu_mhz(self.cpu_speed or 1000, "cpuspeed")
        memory = rules.memory_mib(self.memory, "memory")
        rules.within(self.root_disk_size, "rootdisksize", 0, rules.DISK_GIB_MAX)
        if not self.name.strip():
            raise Invalid("Please specify a valid name for the service offering")
        return call.change.create(
            Offering(
                id=call.new_id(),
                name=self.name,
                display_text=self.display_text or self.name,
                cpus=cpus,
                cpu_mhz=mhz,
                memory_mib=memory,
                root_gib=self.root_disk_size,
                offer_ha=self.offer_ha,
                limit_cpu=self.limit_cpu_use,
                volatile=self.is_volatile,
                tags=tags_of(self.tags),
                host_tags=tags_of(self.host_tags),
                domain=self.domain_id[0] if self.domain_id else None,
                network_rate=self.network_rate,
                created=wall(),
            )
        )


@command(
    "deleteServiceOffering",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="SERVICE.OFFERING.DELETE",
    java="org.apache.cloudstack.api.command.admin.offering.DeleteServiceOfferingCmd",
)
class DeleteServiceOffering(ApiCommand):
    """Deletes a size; machines that have it keep it."""

    id: Annotated[OfferingId, About("the id of the offering")]

    async def run(self, call: Call) -> None:
        row = call.view.get(Offering, self.id)
        call.change.update(Offering, row.id, revision=row.revision, removed=True)


@command(
    "listDiskOfferings",
    answers=Answers.LIST,
    shows=DiskOfferingView,
    java="org.apache.cloudstack.api.command.user.offering.ListDiskOfferingsCmd",
)
class ListDiskOfferings(OfferingList):
    """Lists the sizes that data disks come in."""

    shown: ClassVar[type[Shown]] = DiskOfferingView

    id: Annotated[DiskOfferingId | None, About("the id of the offering")] = None


@command(
    "listNetworkOfferings",
    answers=Answers.LIST,
    shows=NetworkOfferingView,
    java="org.apache.cloudstack.api.command.user.network.ListNetworkOfferingsCmd",
)
class ListNetworkOfferings(ListCommand):
    """Lists the kinds of network."""

    shown: ClassVar[type[Shown]] = NetworkOfferingView

    id: Annotated[NetworkOfferingId | None, About("the id of the offering")] = None
    name: Annotated[str | None, About("its name"), By("name")] = None
    display_text: Annotated[str | None, About("its text"), By("display_text")] = None
    guest_ip_type: Annotated[str | None, About("Isolated, Shared or L2")] = None
    state: Annotated[str | None, About("Enabled or Disabled")] = None
    is_default: Annotated[bool | None, About("only defaults, or none"), By("is_default")] = None
    for_vpc: Annotated[bool | None, About("for tiers of a VPC, or not")] = None
    traffic_type: Annotated[str | None, About("Guest")] = None
    network_id: Annotated[NetworkId | None, About("that this network may change to")] = None
    source_nat_supported: Annotated[bool | None, About("with source NAT, or without")] = None
    supported_services: Annotated[tuple[str, ...] | None, About("with all these services")] = None
    specify_vlan: Annotated[bool | None, About("whose networks name a VLAN: none")] = None
    specify_ip_ranges: Annotated[bool | None, About("whose networks name addresses: none")] = None
    zone_id: Annotated[ZoneId | None, About("offered in this zone: all are")] = None

    def tests(self, call: Call) -> list[Test]:
        tests: list[Test] = []
        if self.for_vpc or self.specify_vlan or self.specify_ip_ranges:
            tests.append(lambda _: False)
        if self.guest_ip_type:
            kind = self.guest_ip_type.lower()
            tests.append(lambda row: row.guest_type.lower() == kind)
        if self.traffic_type and self.traffic_type.lower() != "guest":
            tests.append(lambda _: False)
        if self.state or call.caller.rank is not Rank.ROOT_ADMIN:
            enabled = (self.state or "enabled").lower() == "enabled"
            tests.append(lambda row: row.enabled is enabled)
        if self.source_nat_supported is not None:
            nat = self.source_nat_supported
            tests.append(lambda row: (SOURCE_NAT in row.services) is nat)
        if self.supported_services:
            services = set(self.supported_services)
            tests.append(lambda row: services <= set(row.services))
        return tests


@command(
    "listOsTypes",
    answers=Answers.LIST,
    shows=OsTypeView,
    java="org.apache.cloudstack.api.command.user.guest.ListGuestOsCmd",
)
class ListOsTypes(ListCommand):
    """Lists guest operating systems."""

    shown: ClassVar[type[Shown]] = OsTypeView

    id: Annotated[OsTypeId | None, About("the id of the OS type")] = None
    ids: Annotated[tuple[OsTypeId, ...] | None, About("the ids of OS types")] = None
    description: Annotated[str | None, About("the name"), By("name")] = None
    os_category_id: Annotated[OsCategoryId | None, About("of this category")] = None

    def tests(self, call: Call) -> list[Test]:
        del call
        wanted = self.os_category_id
        return [lambda row: category_id(row.category) == wanted] if wanted else []


def offered(call: Call, kind: type[AnOffering], id: str, parameter: str) -> AnOffering:
    """Return an offering that the caller may use. Raises Invalid if it was deleted."""
    row = call.seen(kind, id, parameter)
    if row.removed:
        raise Invalid(f"{parameter}: the offering {row.name} was deleted")
    return row


def default_isolated(call: Call) -> NetworkOffering:
    """Return the kind of network that is made for an account's first machine."""
    found = [
        row
        for row in call.view.all(NetworkOffering)
        if row.enabled and row.is_default and row.guest_type == ISOLATED
    ]
    if not found:
        raise Invalid("there is no default isolated network offering; name networkids")
    return min(found, key=lambda row: (row.created, row.id))
