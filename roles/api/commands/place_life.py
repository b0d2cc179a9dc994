"""Zones, pods and clusters: made, changed and removed."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec.structs import replace

from csnode.api.about import About, Free, Map, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.clock import wall
from csnode.faults import Invalid
from csnode.model.host import Host, StoragePool
from csnode.model.ids import public_addresses, vnis
from csnode.model.network import Network
from csnode.model.physical import PhysicalNetwork
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Range
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import ClusterId, DomainId, PodId, ZoneId
from roles.api.checks import (
    address_of,
    check_empty,
    check_free,
    cidr_of,
    domain_of,
    enabled_of,
    given,
    hypervisor_of,
    span_of,
)
from roles.api.views.place import ClusterView, PodView, ZoneView

VNI_FIRST, VNI_LAST = 1000, 100_000  # of a new zone; a physical network's vlan says otherwise
GUEST_CIDR = "10.1.1.0/24"
OVERCOMMIT_MAX = 100.0


@command(
    "createZone",
    answers=Answers.ENTITY,
    shows=ZoneView,
    allows=Rank.ROOT_ADMIN,
    event="ZONE.CREATE",
    java="org.apache.cloudstack.api.command.admin.zone.CreateZoneCmd",
)
class CreateZone(ApiCommand):
    """Creates a zone. It has no public addresses until createVlanIpRange."""

    name: Annotated[str, About("its name")]
    network_type: Annotated[str, About("Advanced: there are no others")]
    dns1: Annotated[str, About("the name server that machines use")]
    internal_dns1: Annotated[str, About("the name server of the cloud itself")]
    dns2: Annotated[str | None, About("the second name server that machines use")] = None
    internal_dns2: Annotated[str | None, About("the second of the cloud itself")] = None
    guest_cidr_address: Annotated[str | None, About("of networks that say nothing else")] = None
    domain: Annotated[str | None, About("the DNS suffix of its machines")] = None
    domain_id: Annotated[DomainId | None, About("dedicated to that domain: not possible")] = None
    allocation_state: Annotated[str | None, About("Enabled (if left out) or Disabled")] = None
    local_storage_enabled: Annotated[bool, About("disks may lie on the hosts: always")] = True
    security_group_enabled: Annotated[bool, About("groups isolate machines: not possible")] = False

    async def run(self, call: Call) -> Zone:
        if self.network_type.lower() != "advanced":
            raise Invalid(
                f"networktype must be Advanced: {self.network_type} zones are not offered"
            )
        if self.security_group_enabled or self.domain_id:
            raise Invalid("securitygroupenabled and domainid of zones are not offered")
        check_free(call, Zone, self.name)
        id = ZoneId(call.new_id())
        zone = Zone(
            id=id,
            name=self.name,
            dns1=address_of(self.dns1, "dns1"),
            dns2=address_of(self.dns2, "dns2"),
            internal_dns1=address_of(self.internal_dns1, "internaldns1"),
            internal_dns2=address_of(self.internal_dns2, "internaldns2"),
            guest_cidr=cidr_of(self.guest_cidr_address) or GUEST_CIDR,
            network_domain=domain_of(self.domain),
            enabled=enabled_of(self.allocation_state, True),
            created=wall(),
        )
        call.change.create(Range(id=vnis(id), low=VNI_FIRST, high=VNI_LAST))
        return call.change.create(zone)


@command(
    "updateZone",
    answers=Answers.ENTITY,
    shows=ZoneView,
    allows=Rank.ROOT_ADMIN,
    event="ZONE.EDIT",
    java="org.apache.cloudstack.api.command.admin.zone.UpdateZoneCmd",
)
class UpdateZone(ApiCommand):
    """Changes a zone; a disabled one takes no new machines of users."""

    id: Annotated[ZoneId, About("the id of the zone")]
    name: Annotated[str | None, About("a new name")] = None
    dns1: Annotated[str | None, About("the name server that machines use")] = None
    dns2: Annotated[str | None, About("the second one")] = None
    internal_dns1: Annotated[str | None, About("the name server of the cloud itself")] = None
    internal_dns2: Annotated[str | None, About("the second one")] = None
    guest_cidr_address: Annotated[str | None, About("of networks that say nothing else")] = None
    domain: Annotated[str | None, About("the DNS suffix of its machines")] = None
    allocation_state: Annotated[str | None, About("Enabled or Disabled")] = None
    dhcp_provider: Annotated[str | None, About("VirtualRouter: there are no others")] = None
    local_storage_enabled: Annotated[bool | None, About("true: always so")] = None
    details: Annotated[Map, About("none are kept"), Free("options")] = ()

    async def run(self, call: Call) -> Zone:
        zone = call.view.get(Zone, self.id)
        if self.name and self.name != zone.name:
            check_free(call, Zone, self.name)
        if (self.dhcp_provider or "VirtualRouter").lower() != "virtualrouter":
            raise Invalid(f"dhcpprovider must be VirtualRouter, not {self.dhcp_provider}")
        if self.local_storage_enabled is False:
            raise Invalid("localstorageenabled cannot be turned off: take the local pools out")
        addresses = {
            "dns1": self.dns1,
            "dns2": self.dns2,
            "internal_dns1": self.internal_dns1,
            "internal_dns2": self.internal_dns2,
        }
        news: dict[str, Any] = {n: address_of(v, n) for n, v in addresses.items() if v is not None}
        news |= given(name=self.name, network_domain=domain_of(self.domain))
        if self.guest_cidr_address:
            news["guest_cidr"] = cidr_of(self.guest_cidr_address, zone.public_cidr)
        news["enabled"] = enabled_of(self.allocation_state, zone.enabled)
        call.change.update(Zone, zone.id, revision=zone.revision, **news)
        return zone


@command(
    "deleteZone",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="ZONE.DELETE",
    java="org.apache.cloudstack.api.command.admin.zone.DeleteZoneCmd",
)
class DeleteZone(ApiCommand):
    """Deletes a zone that has nothing in it any more."""

    id: Annotated[ZoneId, About("the id of the zone")]

    async def run(self, call: Call) -> None:
        zone = call.view.get(Zone, self.id)
        inside = (Pod, Cluster, Host, StoragePool, PhysicalNetwork, Vm, Volume, Network, Template)
        check_empty(call, zone, "zone", inside)
        for name in (vnis(zone.id), public_addresses(zone.id)):
            range = call.view.maybe(Range, name)
            if range is not None:
                call.change.delete(Range, range.id, revision=range.revision)
        call.change.delete(Zone, zone.id, revision=zone.revision)
        call.note(about=zone)


@command(
    "createPod",
    answers=Answers.ENTITY,
    shows=PodView,
    allows=Rank.ROOT_ADMIN,
    event="POD.CREATE",
    java="org.apache.cloudstack.api.command.admin.pod.CreatePodCmd",
)
class CreatePod(ApiCommand):
    """Creates a pod. Its addresses are a note: csnode's components have their own."""

    zone_id: Annotated[ZoneId, About("the zone it is in")]
    name: Annotated[str, About("its name")]
    gateway: Annotated[str | None, About("the gateway of its management network")] = None
    netmask: Annotated[str | None, About("the netmask of its management network")] = None
    start_ip: Annotated[str | None, About("the first management address")] = None
    end_ip: Annotated[str | None, About("the last; if left out, there is but one")] = None
    allocation_state: Annotated[str | None, About("Enabled (if left out) or Disabled")] = None

    async def run(self, call: Call) -> Pod:
        check_free(call, Pod, self.name, zone=self.zone_id)
        pod = Pod(
            id=call.new_id(),
            zone=self.zone_id,
            name=self.name,
            enabled=enabled_of(self.allocation_state, True),
            created=wall(),
        )
        addresses = span_of(self.gateway, self.netmask, self.start_ip, self.end_ip)
        return call.change.create(replace(pod, **addresses))


@command(
    "updatePod",
    answers=Answers.ENTITY,
    shows=PodView,
    allows=Rank.ROOT_ADMIN,
    event="POD.EDIT",
    java="org.apache.cloudstack.api.command.admin.pod.UpdatePodCmd",
)
class UpdatePod(ApiCommand):
    """Changes a pod. While it is disabled no machine starts in it or moves there; those run on."""

    id: Annotated[PodId, About("the id of the pod")]
    name: Annotated[str | None, About("a new name")] = None
    gateway: Annotated[str | None, About("the gateway of its management network")] = None
    netmask: Annotated[str | None, About("the netmask of its management network")] = None
    start_ip: Annotated[str | None, About("the first management address")] = None
    end_ip: Annotated[str | None, About("the last management address")] = None
    allocation_state: Annotated[str | None, About("Enabled or Disabled")] = None

    async def run(self, call: Call) -> Pod:
        pod = call.view.get(Pod, self.id)
        if self.name and self.name != pod.name:
            check_free(call, Pod, self.name, zone=pod.zone)
        span = span_of(
            self.gateway or pod.gateway,
            self.netmask or pod.netmask,
            self.start_ip or pod.start_ip,
            self.end_ip or pod.end_ip,
        )
        enabled = enabled_of(self.allocation_state, pod.enabled)
        news = {**given(name=self.name), **span, "enabled": enabled}
        call.change.update(Pod, pod.id, revision=pod.revision, **news)
        return pod


@command(
    "deletePod",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="POD.DELETE",
    java="org.apache.cloudstack.api.command.admin.pod.DeletePodCmd",
)
class DeletePod(ApiCommand):
    """Deletes a pod that has no clusters and hosts any more."""

    id: Annotated[PodId, About("the id of the pod")]

    async def run(self, call: Call) -> None:
        pod = call.view.get(Pod, self.id)
        check_empty(call, pod, "pod", (Cluster, Host, StoragePool))
        call.change.delete(Pod, pod.id, revision=pod.revision)
        call.note(about=pod)


@command(
    "addCluster",
    answers=Answers.LIST,
    shows=ClusterView,
    allows=Rank.ROOT_ADMIN,
    event="CLUSTER.CREATE",
    java="org.apache.cloudstack.api.command.admin.cluster.AddClusterCmd",
)
class AddCluster(ApiCommand):
    """Adds a cluster. Hosts come into it by addHost, or enrol themselves."""

    zone_id: Annotated[ZoneId, About("the zone it is in")]
    pod_id: Annotated[PodId, About("the pod it is in")]
    cluster_name: Annotated[str, About("its name")]
    cluster_type: Annotated[str, About("CloudManaged: there are no others")]
    hypervisor: Annotated[str, About("what runs its machines: KVM or Simulator")]
    allocation_state: Annotated[str | None, About("Enabled (if left out) or Disabled")] = None

    async def run(self, call: Call) -> Cluster:
        pod = call.view.get(Pod, self.pod_id)
        if pod.zone != self.zone_id:
            raise Invalid(f"podid: the pod {pod.name} is in another zone")
        if self.cluster_type.lower() != "cloudmanaged":
            raise Invalid(f"clustertype must be CloudManaged, not {self.cluster_type}")
        check_free(call, Cluster, self.cluster_name, pod=pod.id)
        cluster = Cluster(
            id=call.new_id(),
            zone=pod.zone,
            pod=PodId(pod.id),
            name=self.cluster_name,
            hypervisor=hypervisor_of(self.hypervisor),
            enabled=enabled_of(self.allocation_state, True),
            created=wall(),
        )
        return call.change.create(cluster)


def _ratio(name: str, value: float) -> float:
    """Check a ratio. Raises Invalid; NaN is no number between the two either."""
    if not 1.0 <= value <= OVERCOMMIT_MAX:
        raise Invalid(f"{name} must be between 1 and {OVERCOMMIT_MAX:g}, not {value:g}")
    return value


@command(
    "updateCluster",
    answers=Answers.ENTITY,
    shows=ClusterView,
    allows=Rank.ROOT_ADMIN,
    event="CLUSTER.EDIT",
    java="org.apache.cloudstack.api.command.admin.cluster.UpdateClusterCmd",
)
class UpdateCluster(ApiCommand):
    """Changes a cluster. While it is disabled no machine starts in it or moves there."""

    id: Annotated[ClusterId, About("the id of the cluster")]
    cluster_name: Annotated[str | None, About("a new name")] = None
    cluster_type: Annotated[str | None, About("CloudManaged: there are no others")] = None
    hypervisor: Annotated[str | None, About("what runs its machines, while it has no host")] = None
    allocation_state: Annotated[str | None, About("Enabled or Disabled")] = None
    managed_state: Annotated[str | None, About("Managed: there are no others")] = None
    cpu_overcommit_ratio: Annotated[
        float | None, About("how often the processors of its hosts are given out, from 1 on")
    ] = None
    memory_overcommit_ratio: Annotated[
        float | None, About("how often the memory of its hosts is given out, from 1 on")
    ] = None

    async def run(self, call: Call) -> Cluster:
        cluster = call.view.get(Cluster, self.id)
        if self.cluster_name and self.cluster_name != cluster.name:
            check_free(call, Cluster, self.cluster_name, pod=cluster.pod)
        if (self.managed_state or "Managed").lower() != "managed":
            raise Invalid("managedstate must be Managed; a cluster is put aside by allocationstate")
        news = given(name=self.cluster_name)
        if self.hypervisor and hypervisor_of(self.hypervisor) != cluster.hypervisor:
            check_empty(call, cluster, "cluster", (Host,))
            news["hypervisor"] = hypervisor_of(self.hypervisor)
        news["enabled"] = enabled_of(self.allocation_state, cluster.enabled)
        ratios = {"cpu": self.cpu_overcommit_ratio, "memory": self.memory_overcommit_ratio}
        for what, ratio in ratios.items():
            if ratio is not None:
                news[f"{what}_overcommit"] = _ratio(f"{what}overcommitratio", ratio)
        call.change.update(Cluster, cluster.id, revision=cluster.revision, **news)
        return cluster


@command(
    "deleteCluster",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="CLUSTER.DELETE",
    java="org.apache.cloudstack.api.command.admin.cluster.DeleteClusterCmd",
)
class DeleteCluster(ApiCommand):
    """Deletes a cluster that has no hosts and pools any more."""

    id: Annotated[ClusterId, About("the id of the cluster")]

    async def run(self, call: Call) -> None:
        cluster = call.view.get(Cluster, self.id)
        check_empty(call, cluster, "cluster", (Host, StoragePool))
        call.change.delete(Cluster, cluster.id, revision=cluster.revision)
        call.note(about=cluster)
