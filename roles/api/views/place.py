"""Zones, pods and clusters, and how much room they have."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Word
from csnode.api.view import Part, Shown
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.place import Cluster, Pod, Zone
from roles.api.views.capacity import CapacityView


class ZoneView(Shown):
    """A zone."""

    key: ClassVar[str] = "zone"
    of: ClassVar[type[Entity]] = Zone

    id: Annotated[str, About("the id of the zone")]
    name: Annotated[str, About("its name")]
    display_text: Annotated[str, About("its name")]
    dns1: Annotated[str | None, About("the name server that machines use")] = None
    dns2: Annotated[str | None, About("the second name server")] = None
    internal_dns1: Annotated[str | None, About("the name server of the cloud itself")] = None
    internal_dns2: Annotated[str | None, About("the second of the cloud itself")] = None
    domain: Annotated[str | None, About("the DNS suffix of its machines")] = None
    guest_cidr_address: Annotated[str, About("the addresses of a network unless it says")]
    network_type: Annotated[str, About("Advanced")]
    allocation_state: Annotated[str, About("Enabled or Disabled")]
    security_groups_enabled: Annotated[bool, About("whether security groups isolate machines")]
    local_storage_enabled: Annotated[bool, About("whether disks may lie on the hosts")]
    dhcp_provider: Annotated[str, About("VirtualRouter")]
    zone_token: Annotated[str, About("the id of the zone")]
    type: Annotated[str, About("Core")]
    tags: Annotated[tuple[str, ...], About("its tags"), Word("set")]
    capacity: Annotated[
        tuple[CapacityView, ...] | None, About("its room; with showcapacities=true")
    ] = None

    @classmethod
    def made(cls, row: Zone, view: View) -> ZoneView:
        del view
        return cls(
            id=row.id,
            name=row.name,
            display_text=row.name,
            dns1=row.dns1 or None,
            dns2=row.dns2 or None,
            internal_dns1=row.internal_dns1 or None,
            internal_dns2=row.internal_dns2 or None,
            domain=row.network_domain or None,
            guest_cidr_address=row.guest_cidr,
            network_type="Advanced",
            allocation_state=allocation(row.enabled),
            security_groups_enabled=False,
            local_storage_enabled=True,
            dhcp_provider="VirtualRouter",
            zone_token=row.id,
            type="Core",
            tags=(),
        )


class IpRangeView(Part):
    """A range of addresses of a pod."""

    start_ip: Annotated[str, About("the first address")]
    end_ip: Annotated[str, About("the last address")]
    gateway: Annotated[str, About("the gateway")]


class PodView(Shown):
    """A pod."""

    key: ClassVar[str] = "pod"
    of: ClassVar[type[Entity]] = Pod

    id: Annotated[str, About("the id of the pod")]
    name: Annotated[str, About("its name")]
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    gateway: Annotated[str, About("the gateway of its management network")]
    netmask: Annotated[str, About("the netmask of its management network")]
    start_ip: Annotated[tuple[str, ...], About("the first management addresses")]
    end_ip: Annotated[tuple[str, ...], About("the last management addresses")]
    ip_ranges: Annotated[tuple[IpRangeView, ...], About("its management addresses")]
    allocation_state: Annotated[str, About("Enabled or Disabled")]
    capacity: Annotated[
        tuple[CapacityView, ...] | None, About("its room; with showcapacities=true")
    ] = None

    @classmethod
    def made(cls, row: Pod, view: View) -> PodView:
        zone = view.maybe(Zone, row.zone)
        given = bool(row.start_ip)
        return cls(
            id=row.id,
            name=row.name,
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            gateway=row.gateway,
            netmask=row.netmask,
            start_ip=(row.start_ip,) if given else (),
            end_ip=(row.end_ip,) if given else (),
            ip_ranges=(IpRangeView(start_ip=row.start_ip, end_ip=row.end_ip, gateway=row.gateway),)
            if given
            else (),
            allocation_state=allocation(row.enabled),
        )


class ClusterView(Shown):
    """A cluster."""

    key: ClassVar[str] = "cluster"
    of: ClassVar[type[Entity]] = Cluster

    id: Annotated[str, About("the id of the cluster")]
    name: Annotated[str, About("its name")]
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    pod_id: Annotated[str, About("the pod it is in")]
    pod_name: Annotated[str | None, About("the name of that pod")] = None
    hypervisor_type: Annotated[str, About("what runs its machines")]
    cluster_type: Annotated[str, About("CloudManaged")]
    allocation_state: Annotated[str, About("Enabled or Disabled")]
    managed_state: Annotated[str, About("Managed")]
    cpu_overcommit_ratio: Annotated[str, About("how often a processor is given out")]
    memory_overcommit_ratio: Annotated[str, About("how often memory is given out")]
    capacity: Annotated[
        tuple[CapacityView, ...] | None, About("its room; with showcapacities=true")
    ] = None

    @classmethod
    def made(cls, row: Cluster, view: View) -> ClusterView:
        zone, pod = view.maybe(Zone, row.zone), view.maybe(Pod, row.pod)
        return cls(
            id=row.id,
            name=row.name,
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            pod_id=row.pod,
            pod_name=pod.name if pod else None,
            hypervisor_type=row.hypervisor,
            cluster_type="CloudManaged",
            allocation_state=allocation(row.enabled),
            managed_state="Managed",
            cpu_overcommit_ratio=str(row.cpu_overcommit),
            memory_overcommit_ratio=str(row.memory_overcommit),
        )


def allocation(enabled: bool) -> str:
    """Return the word for whether new work is put there."""
    return "Enabled" if enabled else "Disabled"
