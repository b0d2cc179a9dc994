"""listHosts, listStoragePools."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, By, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, command
from csnode.api.lists import ListCommand, Test
from csnode.api.view import Shown
from csnode.model.vm import Vm
from csnode.types import ClusterId, HostId, PodId, PoolId, VmId, ZoneId
from roles.api.views.host import HostView, StoragePoolView, resource_state


@command(
    "listHosts",
    answers=Answers.LIST,
    shows=HostView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.host.ListHostsCmd",
)
class ListHosts(ListCommand):
    """Lists hosts."""

    shown: ClassVar[type[Shown]] = HostView

    id: Annotated[HostId | None, About("the id of the host")] = None
    name: Annotated[str | None, About("the name of the host"), By("name")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    pod_id: Annotated[PodId | None, About("in this pod"), By("pod")] = None
    cluster_id: Annotated[ClusterId | None, About("in this cluster"), By("cluster")] = None
    hypervisor: Annotated[str | None, About("of this hypervisor"), By("hypervisor")] = None
    type: Annotated[str | None, About("Routing; there are no others")] = None
    state: Annotated[str | None, About("Up, Alert, Disconnected ...")] = None
    resource_state: Annotated[str | None, About("Enabled or Disabled")] = None
    virtual_machine_id: Annotated[VmId | None, About("the host of this machine")] = None
    details: Annotated[
        tuple[str, ...] | None, About("min, all, capacity, events or stats: all are shown")
    ] = None

    def tests(self, call: Call) -> list[Test]:
        tests: list[Test] = []
        if self.type and self.type.lower() != "routing":
            tests.append(lambda _: False)
        if self.state:
            state = self.state.lower()
            tests.append(lambda host: host.seen.lower() == state)
        if self.resource_state:
            resource = self.resource_state.lower()
            tests.append(lambda host: resource_state(host).lower() == resource)
        if self.virtual_machine_id:
            vm = call.view.get(Vm, self.virtual_machine_id)
            tests.append(lambda host: host.id == vm.host)
        return tests


@command(
    "listStoragePools",
    answers=Answers.LIST,
    shows=StoragePoolView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.storage.ListStoragePoolsCmd",
)
class ListStoragePools(ListCommand):
    """Lists storage pools."""

    shown: ClassVar[type[Shown]] = StoragePoolView

    id: Annotated[PoolId | None, About("the id of the pool")] = None
    name: Annotated[str | None, About("the name of the pool"), By("name")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    pod_id: Annotated[PodId | None, About("in this pod"), By("pod")] = None
    cluster_id: Annotated[ClusterId | None, About("in this cluster"), By("cluster")] = None
    host_id: Annotated[HostId | None, About("of this host"), By("host")] = None
    path: Annotated[str | None, About("at this path"), By("path")] = None
    ip_address: Annotated[str | None, About("at this address"), By("address")] = None
    scope_: Annotated[str | None, About("HOST, CLUSTER or ZONE")] = None
    status: Annotated[str | None, About("Up, Disabled or Maintenance")] = None

    def tests(self, call: Call) -> list[Test]:
        view, tests = call.view, list[Test]()
        if self.scope_:
            scope = self.scope_.upper()
            tests.append(lambda pool: StoragePoolView.made(pool, view).scope == scope)
        if self.status:
            status = self.status.lower()
            tests.append(lambda pool: StoragePoolView.made(pool, view).state.lower() == status)
        return tests
