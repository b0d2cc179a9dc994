"""listZones, listPods, listClusters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

from csnode.api.about import About, By, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, command
from csnode.api.lists import ListCommand, Test
from csnode.api.shelf import Shelf
from csnode.api.view import Shown, for_rank
from csnode.types import ClusterId, DomainId, PodId, ZoneId
from roles.api.views.capacity import capacity_of
from roles.api.views.place import ClusterView, PodView, ZoneView, allocation


class PlaceList(ListCommand):
    """Zones, pods and clusters can show how much room they have."""

    name: Annotated[str | None, About("the name"), By("name")] = None
    show_capacities: Annotated[bool, About("whether to show how much room there is")] = False

    def rows(self, call: Call, shelf: Shelf, ids: list[str]) -> list[bytes]:
        if not self.show_capacities:
            return super().rows(call, shelf, ids)
        return [self._with_capacity(call, call.view.get(self.shown.of, id)) for id in ids]

    def _with_capacity(self, call: Call, row: Any) -> bytes:
        plain = self.shown.made(row, call.view)
        full = msgspec.structs.replace(plain, capacity=capacity_of(row, call.view))
        return for_rank(full, call.caller.rank)


@command(
    "listZones",
    answers=Answers.LIST,
    shows=ZoneView,
    java="org.apache.cloudstack.api.command.user.zone.ListZonesCmd",
)
class ListZones(PlaceList):
    """Lists zones."""

    shown: ClassVar[type[Shown]] = ZoneView

    id: Annotated[ZoneId | None, About("the id of the zone")] = None
    ids: Annotated[tuple[ZoneId, ...] | None, About("the ids of zones")] = None
    available: Annotated[bool | None, About("only zones that take machines")] = None
    domain_id: Annotated[DomainId | None, About("zones that this domain may use: all")] = None
    network_type: Annotated[str | None, About("Advanced")] = None

    def tests(self, call: Call) -> list[Test]:
        tests: list[Test] = []
        if self.available or call.caller.rank is not Rank.ROOT_ADMIN:
            tests.append(lambda zone: zone.enabled)
        if self.network_type:
            fits = self.network_type.lower() == "advanced"
            tests.append(lambda _: fits)
        return tests


@command(
    "listPods",
    answers=Answers.LIST,
    shows=PodView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.pod.ListPodsByCmd",
)
class ListPods(PlaceList):
    """Lists pods."""

    shown: ClassVar[type[Shown]] = PodView

    id: Annotated[PodId | None, About("the id of the pod")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    allocation_state: Annotated[str | None, About("Enabled or Disabled")] = None

    def tests(self, call: Call) -> list[Test]:
        del call
        return _allocation(self.allocation_state)


@command(
    "listClusters",
    answers=Answers.LIST,
    shows=ClusterView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.cluster.ListClustersCmd",
)
class ListClusters(PlaceList):
    """Lists clusters."""

    shown: ClassVar[type[Shown]] = ClusterView

    id: Annotated[ClusterId | None, About("the id of the cluster")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    pod_id: Annotated[PodId | None, About("in this pod"), By("pod")] = None
    hypervisor: Annotated[str | None, About("of this hypervisor"), By("hypervisor")] = None
    allocation_state: Annotated[str | None, About("Enabled or Disabled")] = None

    def tests(self, call: Call) -> list[Test]:
        del call
        return _allocation(self.allocation_state)


def _allocation(wanted: str | None) -> list[Test]:
    if not wanted:
        return []
    word = wanted.lower()
    return [lambda row: allocation(row.enabled).lower() == word]
