"""Storage pools: created, changed, maintained and removed."""

from __future__ import annotations

from typing import Annotated, Any

from csnode.api.about import About, Free, Long, Map, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.parse import merged
from csnode.clock import wall
from csnode.config import NodeConfig
from csnode.directory.directory import Served
from csnode.directory.pool_hosts import reaching
from csnode.faults import Conflict, Invalid
from csnode.model.host import Host, Retired, StoragePool
from csnode.model.job import Job
from csnode.model.place import Cluster
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import ClusterId, HostId, PodId, PoolId, Power, ZoneId
from roles.api.checks import retire_pool, tags_of
from roles.api.views.host import StoragePoolView

NAMED = 10  # machines named in an error
JAVA = "org.apache.cloudstack.api.command.admin.storage"
FACTOR = "storage.overprovisioning.factor"
FACTOR_DEFAULT, FACTOR_MAX = 2.0, 100.0


@command(
    "createStoragePool",
    answers=Answers.ENTITY,
    shows=StoragePoolView,
    allows=Rank.ROOT_ADMIN,
    event="STORAGE.POOL.CREATE",
    java=f"{JAVA}.CreateStoragePoolCmd",
)
class CreateStoragePool(ApiCommand):
    """Takes a pool that machines serve already into the cloud.

    csnode mounts nothing: a machine serves a shared pool by its [storage] section (shared = true,
    and the pool's name), and it enrols itself unless `[fabric] enrol = false`.
    """

    zone_id: Annotated[ZoneId, About("the zone it is in")]
    name: Annotated[str, About("its name, as [storage] of its machines has it")]
    url: Annotated[str, About("where it is: kept as a note")]
    pod_id: Annotated[PodId | None, About("the pod it is in")] = None
    cluster_id: Annotated[ClusterId | None, About("the cluster whose hosts reach it")] = None
    scope_: Annotated[str | None, About("CLUSTER: ZONE is not offered")] = None
    tags: Annotated[str | None, About("its tags, with commas")] = None
    hypervisor: Annotated[str | None, About("of the hosts that reach it: a note")] = None
    provider: Annotated[str | None, About("DefaultPrimary: there are no others")] = None
    details: Annotated[
        Map,
        About("details[0].storage.overprovisioning.factor=...; others are not kept"),
        Free("options"),
    ] = ()  # fmt: skip

    async def run(self, call: Call) -> StoragePool:
        if (self.scope_ or "CLUSTER").upper() != "CLUSTER" or self.cluster_id is None:
            raise Invalid("scope must be CLUSTER, with the clusterid of the hosts that reach it")
        cluster = call.view.get(Cluster, self.cluster_id)
        if cluster.zone != self.zone_id or self.pod_id not in (None, cluster.pod):
            raise Invalid(f"clusterid: the cluster {cluster.name} is in another zone or pod")
        id, hosts = self._served(call)
        if call.view.maybe(StoragePool, id) is not None:
            raise Conflict(f"the pool {self.name} is in the cloud already", code=431, cs=4350)
        if (retired := call.view.maybe(Retired, id)) is not None:
            call.change.delete(Retired, id, revision=retired.revision)
        pool = StoragePool(
            id=id,
            name=self.name,
            zone=self.zone_id,
            pod=cluster.pod,
            cluster=self.cluster_id,
            path=self.url,
            tags=tags_of(self.tags),
            hosts=hosts,
            created=wall(),
            overprovisioning=_overprovisioning(self.details, FACTOR_DEFAULT),
        )
        return call.change.create(pool)

    def _served(self, call: Call) -> tuple[str, tuple[HostId, ...]]:
        """Find the pool's id, and the hosts of machines heard serving it. Raises Invalid."""
        for member in call.nodes:
            id = NodeConfig(cluster=member.cluster).shared_pool(self.name)
            if id in member.places(Served.STORAGE):
                hosts = reaching(id, (), call.nodes)
                return id, tuple(at for at in hosts if call.view.maybe(Host, at) is not None)
        raise Invalid(
            f"name: no machine is heard that serves a shared pool {self.name!r}. Mount it at the "
            "same path on each of its hosts, and set `shared = true` and its name in their "
            "[storage]"
        )


def _overprovisioning(details: Map, otherwise: float) -> float:
    """Return the factor that the details name. Raises Invalid."""
    text = merged(details).get(FACTOR)
    if text is None:
        return otherwise
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.0 < factor <= FACTOR_MAX:
        raise Invalid(f"{FACTOR} must be a number above 0, and at most {FACTOR_MAX:g}, not {text}")
    return factor


@command(
    "updateStoragePool",
    answers=Answers.ENTITY,
    shows=StoragePoolView,
    allows=Rank.ROOT_ADMIN,
    event="STORAGE.POOL.UPDATE",
    java=f"{JAVA}.UpdateStoragePoolCmd",
)
class UpdateStoragePool(ApiCommand):
    """Changes a pool; a disabled one takes no new volumes."""

    id: Annotated[PoolId, About("the id of the pool")]
    name: Annotated[str | None, About("a new name")] = None
    tags: Annotated[tuple[str, ...] | None, About("its tags, instead of those it has")] = None
    enabled: Annotated[bool | None, About("whether new volumes come here")] = None
    capacity_bytes: Annotated[Long | None, About("no: it is measured")] = None
    details: Annotated[
        Map,
        About("details[0].storage.overprovisioning.factor=...; others are not kept"),
        Free("options"),
    ] = ()  # fmt: skip

    async def run(self, call: Call) -> StoragePool:
        pool = call.seen(StoragePool, self.id)
        if self.capacity_bytes is not None:
            raise Invalid("capacitybytes: a pool is as large as its machines find it")
        if self.enabled and pool.maintenance:
            raise Invalid(f"{pool.name} is in maintenance; cancelStorageMaintenance comes first")
        news: dict[str, Any] = {}
        if self.name:
            news["name"] = self.name
        if self.tags is not None:
            news["tags"] = tags_of(self.tags)
        if self.enabled is not None:
            news["enabled"] = self.enabled
        factor = _overprovisioning(self.details, pool.overprovisioning)
        if factor != pool.overprovisioning:
            news["overprovisioning"] = factor
        call.change.update(StoragePool, pool.id, revision=pool.revision, **news)
        return pool


@command(
    "deleteStoragePool",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="STORAGE.POOL.DELETE",
    java=f"{JAVA}.DeletePoolCmd",
)
class DeleteStoragePool(ApiCommand):
    """Removes a pool that is in maintenance or disabled, and has no volumes."""

    id: Annotated[PoolId, About("the id of the pool")]
    forced: Annotated[bool, About("even if it is neither disabled nor in maintenance")] = False

    async def run(self, call: Call) -> None:
        pool = call.seen(StoragePool, self.id)
        if pool.enabled and not pool.maintenance and not self.forced:
            raise Invalid(f"{pool.name} must be in maintenance or disabled before it is removed")
        volumes = call.view.by(Volume, "pool", pool.id)
        if volumes:
            names = ", ".join(volume.name for volume in volumes[:NAMED])
            raise Conflict(
                f"{pool.name} still has {len(volumes)} volumes: {names}", code=431, cs=4350
            )
        retire_pool(call, pool)
        call.note(about=pool)


@command(
    "enableStorageMaintenance",
    answers=Answers.JOB,
    shows=StoragePoolView,
    allows=Rank.ROOT_ADMIN,
    event="MAINT.PREPARE.PS",
    java=f"{JAVA}.PreparePrimaryStorageForMaintenanceCmd",
)
class EnableStorageMaintenance(ApiCommand):
    """Keeps a pool free for maintenance. CloudStack stops the machines whose disks are there;
    csnode stops none: while some run, it names them and does nothing.
    """

    id: Annotated[PoolId, About("the id of the pool")]

    async def run(self, call: Call) -> Job:
        pool = call.seen(StoragePool, self.id)
        if pool.maintenance:
            raise Invalid(f"{pool.name} is in maintenance already")
        owners = {volume.vm for volume in call.view.by(Volume, "pool", pool.id) if volume.vm}
        machines = [call.view.maybe(Vm, id) for id in owners]
        running = sorted(
            vm.name for vm in machines if vm and (vm.may_be_on or vm.power is Power.ON)
        )
        if running:
            more = ", ..." if len(running) > NAMED else ""
            raise Conflict(
                f"{len(running)} machines run with disks in {pool.name}: "
                f"{', '.join(running[:NAMED])}{more}. Stop them, or move their disks",
                code=431,
                cs=4350,
            )
        call.change.update(
            StoragePool, pool.id, revision=pool.revision, maintenance=True, enabled=False
        )
        return call.done(pool)


@command(
    "cancelStorageMaintenance",
    answers=Answers.JOB,
    shows=StoragePoolView,
    allows=Rank.ROOT_ADMIN,
    event="MAINT.CANCEL.PS",
    java=f"{JAVA}.CancelPrimaryStorageMaintenanceCmd",
)
class CancelStorageMaintenance(ApiCommand):
    """The pool takes volumes again, and the machines whose disks are there may start."""

    id: Annotated[PoolId, About("the id of the pool")]

    async def run(self, call: Call) -> Job:
        pool = call.seen(StoragePool, self.id)
        if not pool.maintenance:
            raise Invalid(f"{pool.name} is not in maintenance")
        call.change.update(
            StoragePool, pool.id, revision=pool.revision, maintenance=False, enabled=True
        )
        return call.done(pool)
