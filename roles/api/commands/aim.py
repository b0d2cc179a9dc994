"""Where a machine is to run, if a root admin says so: a host, or any of a cluster or pod."""

from __future__ import annotations

from typing import Protocol, TypedDict

from csnode.api.about import Rank, Unscoped
from csnode.api.call import Call
from csnode.faults import Conflict, Denied, Invalid
from csnode.model.fit import closed, places
from csnode.model.host import Host
from csnode.model.place import Cluster, Pod, Zone
from csnode.types import ClusterId, HostId, PodId, ZoneId

SINCE = 3  # the wire number (csnode.directory.WIRE) whose orders say it


AIMED = Unscoped("whoever is no root admin is told that only root admins may say it (531)")
"""Marks the ids of places that `aim_of` checks."""


class Aim(TypedDict):
    """Columns of an order (csnode.model.orders.PlacedOrder)."""

    host: HostId | None
    cluster: ClusterId | None
    pod: PodId | None


class Aiming(Protocol):
    """A request that may say where."""

    @property
    def host_id(self) -> HostId | None: ...

    @property
    def cluster_id(self) -> ClusterId | None: ...

    @property
    def pod_id(self) -> PodId | None: ...


def aim_of(call: Call, asked: Aiming, zone: ZoneId) -> Aim:
    """Return what the order is to say.

    Raises Denied, or Invalid if no machine of the zone could start there now; whether there is room
    is seen when it is placed.
    """
    ids = {"hostid": asked.host_id, "clusterid": asked.cluster_id, "podid": asked.pod_id}
    for name, id in ids.items():
        if id is not None and call.caller.rank is not Rank.ROOT_ADMIN:
            raise Denied(
                f"Parameter {name} can only be specified by a Root Admin, permission denied"
            )
    if any(ids.values()):
        _check_understood(call)
        _check(call, asked, zone)
    return Aim(host=asked.host_id, cluster=asked.cluster_id, pod=asked.pod_id)


def _check(call: Call, asked: Aiming, zone: ZoneId) -> None:
    host = call.seen(Host, asked.host_id, "hostid") if asked.host_id else None
    cluster = call.seen(Cluster, asked.cluster_id, "clusterid") if asked.cluster_id else None
    pod = call.seen(Pod, asked.pod_id, "podid") if asked.pod_id else None
    for row in filter(None, (host, cluster, pod)):
        if row.zone != zone:
            raise Invalid(
                f"The {row.kind} {row.name} is not in the machine's zone "
                f"{call.view.get(Zone, zone).name}"
            )
    over = call.view.maybe(Pod, cluster.pod) if cluster is not None else None
    for place in filter(None, (cluster, pod, over)):
        if not place.enabled:
            raise Invalid(f"Unable to deploy the VM as the {place.kind} {place.name} is disabled")
    within = places(call.view.all(Cluster), call.view.all(Pod))
    if host is not None and (why := closed(host, within)):
        raise Invalid(
            f"Unable to deploy the VM as the host: {host.name} is not in the right state: it {why}"
        )


def _check_understood(call: Call) -> None:
    """Raise Conflict while an older orchestrator would start it anywhere, and not say so."""
    old = [m.node for m in call.nodes if "orchestrator" in m.roles and m.wire < SINCE]
    if old:
        raise Conflict(
            "Where a machine is to run cannot be said before every orchestrator is of this "
            f"version; of an earlier one: {', '.join(sorted(old))}"
        )
