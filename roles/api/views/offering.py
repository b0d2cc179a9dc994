"""Offerings and operating system types."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Date, Long
from csnode.api.view import Part, Shown, date
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.identity import Domain
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.uuids import id_of


class ServiceOfferingView(Shown):
    """A size that machines come in."""

    key: ClassVar[str] = "serviceoffering"
    of: ClassVar[type[Entity]] = Offering

    id: Annotated[str, About("the id of the offering")]
    name: Annotated[str, About("its name")]
    display_text: Annotated[str, About("its text")]
    cpu_number: Annotated[int, About("processors")]
    cpu_speed: Annotated[int, About("MHz of each")]
    memory: Annotated[int, About("MiB")]
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("Active or Inactive")]
    storage_type: Annotated[str, About("local or shared")]
    provisioning_type: Annotated[str, About("thin")]
    offer_ha: Annotated[bool, About("whether machines are restarted elsewhere")]
    limit_cpu_use: Annotated[bool, About("whether cpuspeed is a limit too")]
    is_volatile: Annotated[bool, About("whether the root disk is made anew at each start")]
    host_tags: Annotated[str | None, About("tags that its hosts must have")] = None
    storage_tags: Annotated[str | None, About("tags that its pools must have")] = None
    root_disk_size: Annotated[Long | None, About("GiB; none: as large as the template")] = None
    domain: Annotated[str | None, About("the domain it is for; none: all")] = None
    domain_id: Annotated[str | None, About("the id of that domain")] = None
    network_rate: Annotated[int | None, About("Mbit/s")] = None
    is_customized: Annotated[bool, About("whether the size is chosen at deployment")]
    is_customized_iops: Annotated[bool, About("whether IOPS are chosen at deployment")]
    is_system: Annotated[bool, About("whether it is for system machines")]
    default_use: Annotated[bool, About("whether it is a system default")]
    dynamic_scaling_enabled: Annotated[bool, About("whether machines may be resized")]
    encrypt_root: Annotated[bool, About("whether the root disk is encrypted")]
    disk_offering_strictness: Annotated[bool, About("whether the disk offering is fixed")]

    @classmethod
    def made(cls, row: Offering, view: View) -> ServiceOfferingView:
        domain = view.maybe(Domain, row.domain)
        return cls(
            id=row.id,
            name=row.name,
            display_text=row.display_text or row.name,
            cpu_number=row.cpus,
            cpu_speed=row.cpu_mhz,
            memory=row.memory_mib,
            created=date(row.created),
            state="Inactive" if row.removed else "Active",
            storage_type="shared",
            provisioning_type="thin",
            offer_ha=row.offer_ha,
            limit_cpu_use=row.limit_cpu,
            is_volatile=row.volatile,
            host_tags=",".join(row.host_tags) or None,
            storage_tags=",".join(row.tags) or None,
            root_disk_size=row.root_gib or None,
            domain=domain.name if domain else None,
            domain_id=row.domain,
            network_rate=row.network_rate,
            is_customized=False,
            is_customized_iops=False,
            is_system=False,
            default_use=False,
            dynamic_scaling_enabled=False,
            encrypt_root=False,
            disk_offering_strictness=False,
        )


class DiskOfferingView(Shown):
    """A size that data disks come in."""

    key: ClassVar[str] = "diskoffering"
    of: ClassVar[type[Entity]] = DiskOffering

    id: Annotated[str, About("the id of the offering")]
    name: Annotated[str, About("its name")]
    display_text: Annotated[str, About("its text")]
    disk_size: Annotated[Long, About("GiB; 0 if customized")]
    is_customized: Annotated[bool, About("whether the size is chosen with the disk")]
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("Active or Inactive")]
    storage_type: Annotated[str, About("local or shared")]
    provisioning_type: Annotated[str, About("thin")]
    display_offering: Annotated[bool, About("whether users are shown it")]
    is_customized_iops: Annotated[bool, About("whether IOPS are chosen with the disk")]
    tags: Annotated[str | None, About("tags that its pools must have")] = None
    domain: Annotated[str | None, About("the domain it is for; none: all")] = None
    domain_id: Annotated[str | None, About("the id of that domain")] = None

    @classmethod
    def made(cls, row: DiskOffering, view: View) -> DiskOfferingView:
        domain = view.maybe(Domain, row.domain)
        return cls(
            id=row.id,
            name=row.name,
            display_text=row.display_text or row.name,
            disk_size=row.gib,
            is_customized=row.custom,
            created=date(row.created),
            state="Inactive" if row.removed else "Active",
            storage_type="shared",
            provisioning_type="thin",
            display_offering=True,
            is_customized_iops=False,
            tags=",".join(row.tags) or None,
            domain=domain.name if domain else None,
            domain_id=row.domain,
        )


class ProviderView(Part):
    """Who provides a service of a network."""

    name: Annotated[str, About("VirtualRouter")]


class ServiceView(Part):
    """A service of a network."""

    name: Annotated[str, About("the name of the service")]
    provider: Annotated[tuple[ProviderView, ...], About("who provides it")]
    capability: Annotated[tuple[str, ...], About("what it can do")]


class NetworkOfferingView(Shown):
    """A kind of network."""

    key: ClassVar[str] = "networkoffering"
    of: ClassVar[type[Entity]] = NetworkOffering

    id: Annotated[str, About("the id of the offering")]
    name: Annotated[str, About("its name")]
    display_text: Annotated[str, About("its text")]
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("Enabled or Disabled")]
    availability: Annotated[str, About("Required or Optional")]
    guest_ip_type: Annotated[str, About("Isolated")]
    traffic_type: Annotated[str, About("Guest")]
    is_default: Annotated[bool, About("whether it is a default")]
    is_persistent: Annotated[bool, About("whether networks are built at once")]
    conserve_mode: Annotated[bool, About("whether services share addresses")]
    egress_default_policy: Annotated[bool, About("whether machines may reach out")]
    for_vpc: Annotated[bool, About("whether it is for tiers of a VPC")]
    specify_ip_ranges: Annotated[bool, About("whether networks name their own addresses")]
    specify_vlan: Annotated[bool, About("whether networks name their own VLAN")]
    internet_protocol: Annotated[str, About("ipv4")]
    service: Annotated[tuple[ServiceView, ...], About("the services that come with it")]

    @classmethod
    def made(cls, row: NetworkOffering, view: View) -> NetworkOfferingView:
        del view
        return cls(
            id=row.id,
            name=row.name,
            display_text=row.display_text or row.name,
            created=date(row.created),
            state="Enabled" if row.enabled else "Disabled",
            availability="Required" if row.is_default else "Optional",
            guest_ip_type=row.guest_type,
            traffic_type="Guest",
            is_default=row.is_default,
            is_persistent=row.persistent,
            conserve_mode=True,
            egress_default_policy=True,
            for_vpc=False,
            specify_ip_ranges=False,
            specify_vlan=False,
            internet_protocol="ipv4",
            service=services(row),
        )


class OsTypeView(Shown):
    """A guest operating system."""

    key: ClassVar[str] = "ostype"
    of: ClassVar[type[Entity]] = OsType

    id: Annotated[str, About("the id of the OS type")]
    name: Annotated[str, About("its name")]
    description: Annotated[str, About("its name")]
    os_category_id: Annotated[str | None, About("the id of its category")] = None
    os_category_name: Annotated[str | None, About("its category")] = None
    is_user_defined: Annotated[bool, About("whether an admin added it")]
    for_display: Annotated[bool, About("whether users are shown it")]

    @classmethod
    def made(cls, row: OsType, view: View) -> OsTypeView:
        del view
        return cls(
            id=row.id,
            name=row.name,
            description=row.name,
            os_category_id=category_id(row.category) if row.category else None,
            os_category_name=row.category or None,
            is_user_defined=False,
            for_display=True,
        )


def category_id(name: str) -> str:
    """Return the id of an OS category: only a name here, with the same id everywhere."""
    return id_of("os_category", name)


def services(offering: NetworkOffering | None) -> tuple[ServiceView, ...]:
    """Return the services of a network of that offering."""
    provider = (ProviderView(name="VirtualRouter"),)
    return tuple(
        ServiceView(name=name, provider=provider, capability=())
        for name in (offering.services if offering else ())
    )
