"""Hosts: added, changed, maintained and removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from csnode.api.about import About, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.clock import wall
from csnode.directory.directory import Member, Served
from csnode.faults import Conflict, Invalid
from csnode.model.host import Host, Maintenance, Retired, Seen, StoragePool
from csnode.model.identity import User
from csnode.model.job import Cancel, Job
from csnode.model.network import Network
from csnode.model.orders import EvacuateHost
from csnode.model.place import Cluster, Pod
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import ClusterId, HostId, PodId, ZoneId
from csnode.uuids import id_of
from roles.api.checks import enabled_of, hypervisor_of, retire_pool, tags_of
from roles.api.views.host import HostView

NAMED = 10  # machines named in an error


@command(
    "addHost",
    answers=Answers.LIST,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="HOST.ADD",
    java="org.apache.cloudstack.api.command.admin.host.AddHostCmd",
)
class AddHost(ApiCommand):
    """Takes a machine that has joined the cluster into the cloud, as a hypervisor host.

    csnode does not log in anywhere: a machine joins by a token, and enrols itself unless
    `[fabric] enrol = false`, or it was removed by deleteHost.
    """

    zone_id: Annotated[ZoneId, About("the zone it is in")]
    pod_id: Annotated[PodId, About("the pod it is in")]
    url: Annotated[str, About("http://NAME or http://ADDRESS of the machine")]
    hypervisor: Annotated[str, About("what runs its machines: KVM or Simulator")]
    cluster_id: Annotated[ClusterId | None, About("the cluster it is in")] = None
    cluster_name: Annotated[str | None, About("or that cluster's name")] = None
    host_tags: Annotated[tuple[str, ...] | None, About("its tags")] = None
    allocation_state: Annotated[str | None, About("Enabled (if left out) or Disabled")] = None
    username: Annotated[str | None, About("none: nobody logs in")] = None
    password: Annotated[str | None, About("none: nobody logs in")] = None

    async def run(self, call: Call) -> Host:
        cluster = self._cluster(call)
        name = urlsplit(self.url if "://" in self.url else f"//{self.url}").hostname or ""
        found = list(_heard(call, name))
        if not found:
            raise Invalid(
                f"url: no machine of this cluster called {name!r} is heard playing compute. Make "
                "a token with `csnode token create --roles compute,network,storage`, and run "
                "`csnode join TOKEN` there"
            )
        member, id = found[0]
        if call.view.maybe(Host, id) is not None:
            raise Conflict(f"host {name} is in the cloud already", code=431, cs=4350)
        retired = call.view.maybe(Retired, id)
        if retired is not None:
            call.change.delete(Retired, id, revision=retired.revision)
            self._take_pools(call, member)
        host = Host(
            id=HostId(id),
            name=member.host if id == id_of(member.cluster, "host", member.host) else name,
            zone=self.zone_id,
            pod=self.pod_id,
            cluster=ClusterId(cluster.id),
            address=member.address,
            hypervisor=hypervisor_of(self.hypervisor),
            enabled=enabled_of(self.allocation_state, True),
            tags=tags_of(self.host_tags),
            created=wall(),
            fenced=retired.fenced if retired else 0.0,
            fence_proof=retired.fence_proof if retired else "",
        )
        return call.change.create(host)

    def _cluster(self, call: Call) -> Cluster:
        pod = call.view.get(Pod, self.pod_id)
        if pod.zone != self.zone_id:
            raise Invalid(f"podid: the pod {pod.name} is in another zone")
        clusters = call.view.by(Cluster, "pod", pod.id)
        if self.cluster_id:
            clusters = [c for c in clusters if c.id == self.cluster_id]
        if self.cluster_name:
            clusters = [c for c in clusters if c.name == self.cluster_name]
        if len(clusters) != 1:
            raise Invalid("clusterid or clustername must name one cluster of that pod")
        return clusters[0]

    def _take_pools(self, call: Call, member: Member) -> None:
        """Take the host's pools back with it; fabric enrols them."""
        for id in sorted(set(member.places(Served.STORAGE))):
            retired = call.view.maybe(Retired, id)
            if retired is not None:
                call.change.delete(Retired, id, revision=retired.revision)


@command(
    "updateHost",
    answers=Answers.ENTITY,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="HOST.EDIT",
    java="org.apache.cloudstack.api.command.admin.host.UpdateHostCmd",
)
class UpdateHost(ApiCommand):
    """Changes a host; a disabled one takes no new machines, and keeps those it has."""

    id: Annotated[HostId, About("the id of the host")]
    allocation_state: Annotated[str | None, About("Enable or Disable")] = None
    host_tags: Annotated[tuple[str, ...] | None, About("its tags, instead of those it has")] = None

    async def run(self, call: Call) -> Host:
        host = call.seen(Host, self.id)
        news: dict[str, Any] = {}
        if self.allocation_state:
            words = {"enable": "Enabled", "disable": "Disabled"}
            word = words.get(self.allocation_state.lower(), self.allocation_state)
            news["enabled"] = enabled_of(word, host.enabled)
        if self.host_tags is not None:
            news["tags"] = tags_of(self.host_tags)
        call.change.update(Host, host.id, revision=host.revision, **news)
        return host


@command(
    "reconnectHost",
    answers=Answers.JOB,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="HOST.RECONNECT",
    java="org.apache.cloudstack.api.command.admin.host.ReconnectHostCmd",
)
class ReconnectHost(ApiCommand):
    """Has the host looked at anew. Its components connect by themselves, always."""

    id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        host = call.seen(Host, self.id)
        if host.maintenance:
            raise Invalid(f"Host {host.name} is in maintenance; cancelHostMaintenance comes first")
        if host.seen is Seen.DOWN or host.fenced:
            raise Invalid(f"Host {host.name} is down: {host.why or host.fence_proof}")
        call.change.update(Host, host.id, revision=host.revision, reconnect=wall())
        return call.done(host)


@command(
    "prepareHostForMaintenance",
    answers=Answers.JOB,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="MAINT.PREPARE",
    java="org.apache.cloudstack.api.command.admin.host.PrepareForMaintenanceCmd",
)
class PrepareHostForMaintenance(ApiCommand):
    """Moves every machine away from a host. None is stopped: one that cannot move stays, and the
    host then says so instead of going into maintenance.
    """

    id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        host = call.seen(Host, self.id)
        if host.maintenance in (Maintenance.PREPARING, Maintenance.ON):
            raise Invalid(f"Host {host.name} is in maintenance already, or on its way")
        if host.fenced:
            raise Invalid(f"Host {host.name} is off: {host.fence_proof}")
        call.change.update(Host, host.id, revision=host.revision, maintenance=Maintenance.PREPARING)
        return call.order(EvacuateHost(host=self.id))


@command(
    "cancelHostMaintenance",
    answers=Answers.JOB,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="MAINT.CANCEL",
    java="org.apache.cloudstack.api.command.admin.host.CancelMaintenanceCmd",
)
class CancelHostMaintenance(ApiCommand):
    """The host takes machines again. Moves that have not ended are called off."""

    id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        host = call.seen(Host, self.id)
        if not host.maintenance:
            raise Invalid(f"Host {host.name} is not in maintenance")
        user = call.view.maybe(User, call.caller.user)
        for job in call.jobs(host.id):
            if job.verb == EvacuateHost.verb() and call.view.maybe(Cancel, job.id) is None:
                by = user.name if user else "an operator"
                call.change.create(Cancel(id=job.id, by=by, created=wall()))
        call.change.update(Host, host.id, revision=host.revision, maintenance=Maintenance.NONE)
        return call.done(host)


@command(
    "deleteHost",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="HOST.DELETE",
    java="org.apache.cloudstack.api.command.admin.host.DeleteHostCmd",
)
class DeleteHost(ApiCommand):
    """Removes a host that has nothing any more. Its machine may be told by `csnode node evict`."""

    id: Annotated[HostId, About("the id of the host")]
    forced: Annotated[bool, About("even if it is neither disabled nor in maintenance")] = False
    force_destroy_local_storage: Annotated[
        bool, About("no: disks on it are moved or expunged first")
    ] = False

    async def run(self, call: Call) -> None:
        host, view = call.seen(Host, self.id), call.view
        empty = host.maintenance is Maintenance.ON or host.fenced or not host.enabled
        if not (self.forced or empty):
            raise Invalid(
                f"Host {host.name} must be in maintenance or disabled before it is removed"
            )
        machines = [vm for vm in view.all(Vm) if self.id in vm.may_be_on]
        _refuse(host, "machines", [vm.name for vm in machines])
        _refuse(host, "routers", [n.name for n in view.by(Network, "router", host.id)])
        pools = view.by(StoragePool, "host", host.id)
        volumes = [v for pool in pools for v in view.by(Volume, "pool", pool.id)]
        _refuse(host, "volumes", [volume.name for volume in volumes])
        call.change.delete(Host, host.id, revision=host.revision)
        call.change.create(
            Retired(
                id=host.id,
                name=host.name,
                since=wall(),
                fenced=host.fenced,
                fence_proof=host.fence_proof,
            )
        )
        for pool in pools:
            retire_pool(call, pool)
        if (tally := view.maybe(Tally, host.id)) is not None:
            call.change.delete(Tally, tally.id)
        call.note(about=host)


def _refuse(host: Host, what: str, names: list[str]) -> None:
    """Raise Conflict that names what is still there, if anything is."""
    if names:
        more = ", ..." if len(names) > NAMED else ""
        raise Conflict(
            f"Host {host.name} still has {len(names)} {what}: {', '.join(names[:NAMED])}{more}",
            code=431,
            cs=4350,
        )


def _heard(call: Call, name: str) -> Iterator[tuple[Member, str]]:
    """Find machines of that name or address that play compute, and the HostId meant."""
    for member in call.nodes:
        hosts = member.places(Served.COMPUTE)
        for wanted in (name, member.host if name == member.address else name):
            id = id_of(member.cluster, "host", wanted)
            if id in hosts:
                yield member, id
                break
