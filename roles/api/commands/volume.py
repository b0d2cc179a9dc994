"""listVolumes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, By, Rank, Word
from csnode.api.call import Call
from csnode.api.command import Answers, command
from csnode.api.lists import ProjectList, Test
from csnode.api.view import Shown
from csnode.model.host import StoragePool
from csnode.model.vm import Vm
from csnode.types import (
    ClusterId,
    DiskOfferingId,
    HostId,
    OfferingId,
    PodId,
    PoolId,
    VmId,
    VolumeId,
    ZoneId,
)
from roles.api.views.volume import VolumeView, state_in

ADMIN = Rank.ROOT_ADMIN


@command(
    "listVolumes",
    answers=Answers.LIST,
    shows=VolumeView,
    java="org.apache.cloudstack.api.command.user.volume.ListVolumesCmd",
)
class ListVolumes(ProjectList):
    """Lists volumes."""

    shown: ClassVar[type[Shown]] = VolumeView

    id: Annotated[VolumeId | None, About("the id of the volume")] = None
    ids: Annotated[tuple[VolumeId, ...] | None, About("the ids of volumes")] = None
    name: Annotated[str | None, About("the name of the volume"), By("name")] = None
    type: Annotated[str | None, About("ROOT or DATADISK")] = None
    state: Annotated[str | None, About("Allocated, Creating, Ready or Expunging")] = None
    virtual_machine_id: Annotated[VmId | None, About("of this machine"), By("vm")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    service_offering_id: Annotated[
        OfferingId | None, About("root disks of this offering"), By("offering")
    ] = None
    disk_offering_id: Annotated[
        DiskOfferingId | None, About("data disks of this offering"), By("disk_offering")
    ] = None
    storage_id: Annotated[
        PoolId | None, About("on this pool", allows=ADMIN), Word("string"), By("pool")
    ] = None
    host_id: Annotated[HostId | None, About("of machines on this host")] = None
    pod_id: Annotated[PodId | None, About("on pools of this pod")] = None
    cluster_id: Annotated[ClusterId | None, About("on pools of this cluster", allows=ADMIN)] = None

    def tests(self, call: Call) -> list[Test]:
        view, tests = call.view, list[Test]()
        if self.type:
            kind = self.type.upper()
            tests.append(lambda row: row.type == kind)
        if self.state:
            state = self.state.lower()
            tests.append(lambda row: state_in(view, row).lower() == state)
        if self.host_id:
            on_host = {vm.id for vm in view.by(Vm, "host", self.host_id)}
            tests.append(lambda row: row.vm in on_host)
        for column, wanted in (("pod", self.pod_id), ("cluster", self.cluster_id)):
            if wanted:
                pools = {p.id for p in view.all(StoragePool) if getattr(p, column) == wanted}
                tests.append(_on(pools))
        return tests


def _on(pools: set[str]) -> Test:
    return lambda row: row.pool in pools
