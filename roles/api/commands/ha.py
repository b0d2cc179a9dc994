"""What becomes of machines when their host fails: fencing, and an operator's word instead."""

from __future__ import annotations

from typing import Annotated

from csnode.api.about import About, Free, Map, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.parse import merged
from csnode.api.reach import ALL
from csnode.api.shelf import Listing
from csnode.api.view import encoded
from csnode.faults import Invalid
from csnode.model.host import Host, Seen
from csnode.model.job import Job
from csnode.model.orders import FenceHost
from csnode.model.place import Cluster, Zone
from csnode.plugins import found
from csnode.types import ClusterId, HostId, ZoneId
from roles.api.views.host import FencerView, HaProviderView, HostHaView, HostView

JAVA = "org.apache.cloudstack.api.command.admin.ha"
LOST = (Seen.ALERT, Seen.DISCONNECTED, Seen.DOWN)


# -- an operator's word ----------------------------------------------------------------------------


@command(
    "declareHostAsDegraded",
    answers=Answers.JOB,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="HOST.DECLARE.DEGRADED",
    java="org.apache.cloudstack.api.command.admin.host.DeclareHostAsDegradedCmd",
)
class DeclareHostAsDegraded(ApiCommand):
    """Says that a host is off for certain: its machines may start elsewhere."""

    id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        host = call.seen(Host, self.id)
        if host.degraded:
            raise Invalid(f"Host {host.name} is declared as Degraded already")
        if host.seen not in LOST:
            raise Invalid(
                f"Host {host.name} is {host.seen}; only one that is Alert, Disconnected or Down "
                "can be declared as Degraded"
            )
        call.change.update(Host, host.id, revision=host.revision, degraded=True)
        return call.order(FenceHost(host=self.id, word="an operator declared it degraded"))


@command(
    "cancelHostAsDegraded",
    answers=Answers.JOB,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    event="HOST.CANCEL.DEGRADED",
    java="org.apache.cloudstack.api.command.admin.host.CancelHostAsDegradedCmd",
)
class CancelHostAsDegraded(ApiCommand):
    """Lets a degraded host run machines again, once it is heard and nothing of others is on it."""

    id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        host = call.seen(Host, self.id)
        if not host.degraded:
            raise Invalid(f"Host {host.name} is not declared as Degraded")
        call.change.update(Host, host.id, revision=host.revision, degraded=False)
        return call.done(host)


# -- fencing ---------------------------------------------------------------------------------------


@command(
    "configureHAForHost",
    answers=Answers.JOB,
    shows=HaProviderView,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.CONFIGURE",
    java=f"{JAVA}.ConfigureHAForHostCmd",
)
class ConfigureHaForHost(ApiCommand):
    """Says what a host is fenced with."""

    host_id: Annotated[HostId, About("the id of the host")]
    provider: Annotated[str, About("the fencer, as listHostHAProviders names them")]
    details: Annotated[
        Map,
        About("its options: details[0].address=...; those not given are kept. Never shown"),
        Free("options"),
    ] = ()  # fmt: skip

    async def run(self, call: Call) -> Job:
        host = call.seen(Host, self.host_id, "hostid")
        name = self.provider.lower()
        if name not in found("drivers.fencer"):
            known = ", ".join(found("drivers.fencer"))
            raise Invalid(f"There is no HA provider {self.provider}; there are: {known}")
        before = host.fence_options if name == host.ha_provider else {}
        options = before | merged(self.details)
        call.change.update(
            Host, host.id, revision=host.revision, ha_provider=name, fence_options=options
        )
        return call.done(host)


@command(
    "enableHAForHost",
    answers=Answers.JOB,
    shows=HostHaView,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.ENABLE",
    java=f"{JAVA}.EnableHAForHostCmd",
)
class EnableHaForHost(ApiCommand):
    """Has a host fenced when it fails."""

    host_id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        return _switched(call, self.host_id, True)


@command(
    "disableHAForHost",
    answers=Answers.JOB,
    shows=HaProviderView,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.DISABLE",
    java=f"{JAVA}.DisableHAForHostCmd",
)
class DisableHaForHost(ApiCommand):
    """Leaves a host alone when it fails: an operator sees to it."""

    host_id: Annotated[HostId, About("the id of the host")]

    async def run(self, call: Call) -> Job:
        return _switched(call, self.host_id, False)


@command(
    "enableHAForCluster",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.ENABLE",
    java=f"{JAVA}.EnableHAForClusterCmd",
)
class EnableHaForCluster(ApiCommand):
    """Has every host of a cluster fenced when it fails."""

    cluster_id: Annotated[ClusterId, About("the id of the cluster")]

    async def run(self, call: Call) -> Job:
        return _all_switched(call, call.seen(Cluster, self.cluster_id, "clusterid"), True)


@command(
    "disableHAForCluster",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.DISABLE",
    java=f"{JAVA}.DisableHAForClusterCmd",
)
class DisableHaForCluster(ApiCommand):
    """Leaves every host of a cluster alone when it fails."""

    cluster_id: Annotated[ClusterId, About("the id of the cluster")]

    async def run(self, call: Call) -> Job:
        return _all_switched(call, call.seen(Cluster, self.cluster_id, "clusterid"), False)


@command(
    "enableHAForZone",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.ENABLE",
    java=f"{JAVA}.EnableHAForZoneCmd",
)
class EnableHaForZone(ApiCommand):
    """Has every host of a zone fenced when it fails."""

    zone_id: Annotated[ZoneId, About("the id of the zone")]

    async def run(self, call: Call) -> Job:
        return _all_switched(call, call.seen(Zone, self.zone_id, "zoneid"), True)


@command(
    "disableHAForZone",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="HA.RESOURCE.DISABLE",
    java=f"{JAVA}.DisableHAForZoneCmd",
)
class DisableHaForZone(ApiCommand):
    """Leaves every host of a zone alone when it fails."""

    zone_id: Annotated[ZoneId, About("the id of the zone")]

    async def run(self, call: Call) -> Job:
        return _all_switched(call, call.seen(Zone, self.zone_id, "zoneid"), False)


# -- lists -----------------------------------------------------------------------------------------


@command(
    "listHostHAResources",
    answers=Answers.LIST,
    shows=HostHaView,
    allows=Rank.ROOT_ADMIN,
    java=f"{JAVA}.ListHostHAResourcesCmd",
)
class ListHostHaResources(ApiCommand):
    """Lists hosts, and what becomes of each when it fails. CloudStack's has no pages."""

    host_id: Annotated[HostId | None, About("the id of the host")] = None

    async def run(self, call: Call) -> Listing:
        shelf = call.shelves.of(HostHaView)
        ids = [call.seen(Host, self.host_id, "hostid").id] if self.host_id else shelf.every(ALL)
        rank = call.caller.rank
        return Listing(count=len(ids), rows=[shelf.encoded(id, rank) for id in ids])


@command(
    "listHostHAProviders",
    answers=Answers.LIST,
    shows=FencerView,
    allows=Rank.ROOT_ADMIN,
    java=f"{JAVA}.ListHostHAProvidersCmd",
)
class ListHostHaProviders(ApiCommand):
    """Lists what hosts can be fenced with."""

    hypervisor: Annotated[str, About("all of them fence hosts of any")]

    async def run(self, call: Call) -> Listing:
        del call
        rows = [encoded(FencerView(ha_provider=name)) for name in found("drivers.fencer")]
        return Listing(count=len(rows), rows=rows)


# -- what they share -------------------------------------------------------------------------------


def _switched(call: Call, id: HostId, on: bool) -> Job:
    host = call.seen(Host, id, "hostid")
    call.change.update(Host, host.id, revision=host.revision, ha=on)
    return call.done(host)


def _all_switched(call: Call, place: Cluster | Zone, on: bool) -> Job:
    for host in call.view.by(Host, place.kind, place.id):
        call.change.update(Host, host.id, revision=host.revision, ha=on)
    return call.done(place)
