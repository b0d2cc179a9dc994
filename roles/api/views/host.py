"""Hosts and storage pools, as root admins see them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Date, Long, Word
from csnode.api.view import Shown, date
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.fit import capacity, given_out
from csnode.model.host import Host, Maintenance, Seen, StoragePool
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.room import bytes_promised
from csnode.model.stock import Tally
from csnode.types import MIB
from roles.api.views.capacity import percent
from roles.api.views.place import allocation

MAINTENANCE = {
    Maintenance.PREPARING: "PrepareForMaintenance",
    Maintenance.ON: "Maintenance",
    Maintenance.FAILED: "ErrorInPrepareForMaintenance",
}


class HostView(Shown):
    """A host."""

    key: ClassVar[str] = "host"
    of: ClassVar[type[Entity]] = Host

    id: Annotated[str, About("the id of the host")]
    name: Annotated[str, About("its name")]
    type: Annotated[str, About("Routing"), Word("type")]
    state: Annotated[
        str, About("Connecting, Up, Disconnected, Alert or Down"), Word("status")
    ]  # fmt: skip
    resource_state: Annotated[str, About("Enabled or Disabled")]
    ip_address: Annotated[str, About("its address")]
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    pod_id: Annotated[str, About("the pod it is in")]
    pod_name: Annotated[str | None, About("the name of that pod")] = None
    cluster_id: Annotated[str, About("the cluster it is in")]
    cluster_name: Annotated[str | None, About("the name of that cluster")] = None
    cluster_type: Annotated[str, About("CloudManaged")]
    hypervisor: Annotated[str, About("what runs its machines"), Word("hypervisortype")]
    hypervisor_version: Annotated[str, About("the hypervisor and its version")]
    cpu_number: Annotated[int, About("processors")]
    cpu_speed: Annotated[Long, About("MHz of each")]
    cpu_with_overprovisioning: Annotated[str, About("MHz that may be given out")]
    cpu_allocated: Annotated[str, About("of that, given out, in percent")]
    cpu_allocated_value: Annotated[Long, About("MHz given out")]
    cpu_allocated_percentage: Annotated[str, About("the same in percent")]
    cpu_allocated_with_overprovisioning: Annotated[str, About("the same in percent")]
    memory_total: Annotated[Long, About("bytes")]
    memory_with_overprovisioning: Annotated[str, About("bytes that may be given out")]
    memory_allocated: Annotated[Long, About("of that, bytes given out")]
    memory_allocated_bytes: Annotated[Long, About("of that, bytes given out")]
    memory_allocated_percentage: Annotated[str, About("the same in percent")]
    host_tags: Annotated[str | None, About("its tags")] = None
    created: Annotated[Date | None, About("when it was enrolled")] = None
    disconnected: Annotated[Date | None, About("when it was last heard of, if it is not Up")] = None
    capabilities: Annotated[str, About("hvm")]
    events: Annotated[str, About("what may happen to it now")]
    ha_host: Annotated[bool, About("whether it is kept for restarts")]
    has_enough_capacity: Annotated[bool, About("whether it has room left")]
    is_local_storage_active: Annotated[bool, About("whether it has a pool of its own")]
    suitable_for_migration: Annotated[bool, About("whether a machine may move here")]

    @classmethod
    def made(cls, row: Host, view: View) -> HostView:
        zone, pod = view.maybe(Zone, row.zone), view.maybe(Pod, row.pod)
        cluster = view.maybe(Cluster, row.cluster)
        has, given = capacity(row, cluster), given_out(view.maybe(Tally, row.id))
        memory, memory_given = has.memory_mib * MIB, given.memory_mib * MIB
        mhz_given = f"{percent(given.mhz, has.mhz)}%"
        return cls(
            id=row.id,
            name=row.name,
            type="Routing",
            state=row.seen,
            resource_state=resource_state(row),
            ip_address=row.address,
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            pod_id=row.pod,
            pod_name=pod.name if pod else None,
            cluster_id=row.cluster,
            cluster_name=cluster.name if cluster else None,
            cluster_type="CloudManaged",
            hypervisor=row.hypervisor,
            hypervisor_version=row.version,
            cpu_number=row.cpus,
            cpu_speed=row.cpu_mhz,
            cpu_with_overprovisioning=str(has.mhz),
            cpu_allocated=mhz_given,
            cpu_allocated_value=given.mhz,
            cpu_allocated_percentage=mhz_given,
            cpu_allocated_with_overprovisioning=mhz_given,
            memory_total=row.memory_mib * MIB,
            memory_with_overprovisioning=str(memory),
            memory_allocated=memory_given,
            memory_allocated_bytes=memory_given,
            memory_allocated_percentage=f"{percent(memory_given, memory)}%",
            host_tags=",".join(row.tags) or None,
            created=date(row.created),
            disconnected=None if row.seen is Seen.UP else date(row.seen_since),
            capabilities="hvm",
            events="",
            ha_host=False,
            has_enough_capacity=given.mhz < has.mhz and memory_given < memory,
            is_local_storage_active=bool(view.by(StoragePool, "host", row.id)),
            suitable_for_migration=False,
        )


class StoragePoolView(Shown):
    """A storage pool."""

    key: ClassVar[str] = "storagepool"
    of: ClassVar[type[Entity]] = StoragePool

    id: Annotated[str, About("the id of the pool")]
    name: Annotated[str, About("its name")]
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    pod_id: Annotated[str | None, About("the pod it is in")] = None
    pod_name: Annotated[str | None, About("the name of that pod")] = None
    cluster_id: Annotated[str | None, About("the cluster it is in")] = None
    cluster_name: Annotated[str | None, About("the name of that cluster")] = None
    hypervisor: Annotated[str | None, About("what runs the machines of that cluster")] = None
    scope: Annotated[str, About("HOST, CLUSTER or ZONE: from where it is reached")]
    state: Annotated[
        str, About("Up, Disabled, or Maintenance while it is away"), Word("storagepoolstatus")
    ]
    type: Annotated[str, About("what it is made of")]
    path: Annotated[str, About("where it is")]
    ip_address: Annotated[str, About("the address of the host it is on")]
    provider: Annotated[str, About("DefaultPrimary")]
    disk_size_total: Annotated[Long, About("bytes")]
    disk_size_used: Annotated[Long, About("of that, bytes written")]
    disk_size_allocated: Annotated[Long, About("bytes promised to volumes")]
    overprovision_factor: Annotated[str, About("how often its bytes are promised")]
    tags: Annotated[str | None, About("its tags")] = None
    created: Annotated[Date | None, About("when it was enrolled")] = None
    suitable_for_migration: Annotated[bool, About("whether a volume may move here")]

    @classmethod
    def made(cls, row: StoragePool, view: View) -> StoragePoolView:
        zone, pod = view.maybe(Zone, row.zone), view.maybe(Pod, row.pod)
        cluster = view.maybe(Cluster, row.cluster)
        state = "Maintenance" if row.maintenance or not row.up else "Up"
        return cls(
            id=row.id,
            name=row.name,
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            pod_id=row.pod,
            pod_name=pod.name if pod else None,
            cluster_id=row.cluster,
            cluster_name=cluster.name if cluster else None,
            hypervisor=cluster.hypervisor if cluster else None,
            scope="HOST" if row.host else "CLUSTER" if row.cluster else "ZONE",
            state=state if row.enabled or row.maintenance else "Disabled",
            type=row.type,
            path=row.path,
            ip_address=row.address,
            provider="DefaultPrimary",
            disk_size_total=row.total_bytes,
            disk_size_used=row.used_bytes,
            disk_size_allocated=bytes_promised(view.maybe(Tally, row.id)),
            overprovision_factor=str(row.overprovisioning),
            tags=",".join(row.tags) or None,
            created=date(row.created),
            suitable_for_migration=False,
        )


def resource_state(row: Host) -> str:
    """Return CloudStack's word for what an operator made of the host."""
    if row.maintenance:
        return MAINTENANCE[row.maintenance]
    return "Degraded" if row.degraded else allocation(row.enabled)


def ha_state(row: Host) -> str:
    """Return CloudStack's word for where a failing host is between suspicion and proof."""
    if not row.ha:
        return "Disabled"
    if row.fenced:
        return "Fenced"
    words = {Seen.UP: "Available", Seen.ALERT: "Suspect", Seen.DOWN: "Fencing"}
    return words.get(row.seen, "Ineligible")


class HostHaView(Shown):
    """Whether a host is fenced when it fails, and where that stands."""

    key: ClassVar[str] = "hostha"
    of: ClassVar[type[Entity]] = Host

    host_id: Annotated[str, About("the id of the host")]
    ha_enable: Annotated[bool, About("whether it is fenced when it fails")]
    ha_state: Annotated[
        str, About("Disabled, Available, Suspect, Fencing, Fenced or Ineligible"), Word("hastate")
    ]
    ha_provider: Annotated[str | None, About("what it is fenced with; none: as configured")] = None
    status: Annotated[bool, About("true")] = True

    @classmethod
    def made(cls, row: Host, view: View) -> HostHaView:
        del view
        return cls(
            host_id=row.id,
            ha_enable=row.ha,
            ha_state=ha_state(row),
            ha_provider=row.ha_provider or None,
        )


class HaProviderView(HostHaView):
    """The same, under the key that configureHAForHost and disableHAForHost answer."""

    key: ClassVar[str] = "haprovider"


class FencerView(Shown):
    """Something that hosts can be fenced with."""

    key: ClassVar[str] = "haprovider"

    ha_provider: Annotated[str, About("its name")]
