"""listCapacity."""

from __future__ import annotations

from typing import Annotated

from csnode.api.about import About, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.shelf import Listing
from csnode.api.view import encoded
from csnode.faults import Invalid
from csnode.model.place import Cluster, Pod, Zone
from csnode.types import ClusterId, PodId, ZoneId
from roles.api.views.capacity import CapacityView, all_of


@command(
    "listCapacity",
    answers=Answers.LIST,
    shows=CapacityView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.resource.ListCapacityCmd",
)
class ListCapacity(ApiCommand):
    """Lists how much of everything there is, and how much is spoken for: a line a thing."""

    zone_id: Annotated[ZoneId | None, About("of this zone; if left out, of each")] = None
    pod_id: Annotated[PodId | None, About("of this pod")] = None
    cluster_id: Annotated[ClusterId | None, About("of this cluster")] = None
    type: Annotated[int | None, About("only of this type, CloudStack's number")] = None
    fetch_latest: Annotated[bool, About("count anew: it always is")] = False
    sort_by: Annotated[str | None, About("usage: the fullest first")] = None
    page: Annotated[int | None, About("the page, from 1")] = None
    page_size: Annotated[int | None, About("how many lines a page has")] = None

    async def run(self, call: Call) -> Listing:
        view = call.view
        places: list[Zone | Pod | Cluster]
        if self.cluster_id:
            places = [view.get(Cluster, self.cluster_id)]
        elif self.pod_id:
            places = [view.get(Pod, self.pod_id)]
        elif self.zone_id:
            places = [view.get(Zone, self.zone_id)]
        else:
            places = [*sorted(view.all(Zone), key=lambda zone: zone.name)]
        lines = [line for place in places for line in all_of(place, view)]
        lines = [line for line in lines if self.type in (None, line.type)]
        if self.sort_by:
            if self.sort_by.lower() != "usage":
                raise Invalid(f"sortby must be usage, not {self.sort_by}")
            lines.sort(key=lambda line: float(line.percent_used), reverse=True)
        page = 1 if self.page is None else self.page
        size = call.options.page_size_max if self.page_size is None else self.page_size
        if page < 1 or size < 1:
            raise Invalid("page and pagesize count from 1")
        start = (page - 1) * size
        shown = lines[start : start + size]
        return Listing(count=len(lines), rows=[encoded(line) for line in shown])
