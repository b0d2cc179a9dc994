"""listVirtualMachines, updateVirtualMachine."""

from __future__ import annotations

from typing import Annotated, ClassVar, NewType

import msgspec

from csnode.api.about import About, By, Free
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ProjectList, Test
from csnode.api.parse import bad_value
from csnode.api.refers import REFERS
from csnode.api.shelf import Shelf
from csnode.api.view import Shown, for_rank
from csnode.model import rules
from csnode.model.host import Host
from csnode.model.identity import Account
from csnode.model.ids import in_network
from csnode.model.network import Network, Nic
from csnode.model.vm import LEAVING, Vm
from csnode.model.volume import Volume
from csnode.types import (
    ClusterId,
    HostId,
    NetworkId,
    OfferingId,
    OsTypeId,
    PodId,
    PoolId,
    TemplateId,
    UserId,
    VmId,
    ZoneId,
)
from roles.api.commands.deploy import checked_name
from roles.api.views.vm import VmView, state_in

DETAILS = {
    "all", "group", "nics", "stats", "secgrp", "tmpl", "servoff", "diskoff", "backoff", "iso",
    "volume", "min", "affgrp",
}  # fmt: skip
GroupId = NewType("GroupId", str)
REFERS[GroupId] = Free("groups are only names here: none has an id")
PRESENT = "present"  # neither Destroyed nor Expunging


@command(
    "listVirtualMachines",
    answers=Answers.LIST,
    shows=VmView,
    java="org.apache.cloudstack.api.command.user.vm.ListVMsCmd",
)
class ListVirtualMachines(ProjectList):
    """Lists machines."""

    shown: ClassVar[type[Shown]] = VmView

    id: Annotated[VmId | None, About("the id of the machine")] = None
    ids: Annotated[tuple[VmId, ...] | None, About("the ids of machines")] = None
    name: Annotated[str | None, About("part of the name")] = None
    state: Annotated[str | None, About("a state, or Present: neither Destroyed nor Expunging")] = (
        None
    )
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    pod_id: Annotated[PodId | None, About("in this pod")] = None
    cluster_id: Annotated[ClusterId | None, About("in this cluster")] = None
    host_id: Annotated[HostId | None, About("on this host"), By("host")] = None
    network_id: Annotated[NetworkId | None, About("in this network")] = None
    template_id: Annotated[TemplateId | None, About("of this template"), By("template")] = None
    service_offering_id: Annotated[OfferingId | None, About("of this size"), By("offering")] = None
    storage_id: Annotated[PoolId | None, About("with a disk on this pool")] = None
    user_id: Annotated[UserId | None, About("that this user deployed"), By("user")] = None
    keypair: Annotated[str | None, About("with this ssh key pair"), By("keypair")] = None
    hypervisor: Annotated[str | None, About("run by this hypervisor")] = None
    group_id: Annotated[GroupId | None, About("of this group")] = None
    details: Annotated[
        tuple[str, ...] | None, About("what to show of them: " + ", ".join(sorted(DETAILS)))
    ] = None
    user_data: Annotated[bool, About("show their user data too")] = False

    def tests(self, call: Call) -> list[Test]:
        if self.details and (wrong := set(self.details) - DETAILS):
            raise bad_value(call.asked.command, "details", ",".join(sorted(wrong)))
        view, tests = call.view, list[Test]()
        if self.name:
            part = self.name.lower()
            tests.append(lambda row: part in row.name.lower() or part in row.display_name.lower())
        if self.state:
            tests.append(self._state(call))
        if self.network_id:
            inside = {nic.vm for nic in view.by(Nic, "network", self.network_id)}
            tests.append(lambda row: row.id in inside)
        if self.storage_id:
            on_pool = {volume.vm for volume in view.by(Volume, "pool", self.storage_id)}
            tests.append(lambda row: row.id in on_pool)
        for column, wanted in (("pod", self.pod_id), ("cluster", self.cluster_id)):
            if wanted:
                tests.append(_on({h.id for h in view.all(Host) if getattr(h, column) == wanted}))
        if self.hypervisor:
            kind = self.hypervisor.lower()
            shown = VmView.made
            tests.append(lambda row: shown(row, view).hypervisor.lower() == kind)
        if self.group_id:
            tests.append(lambda _: False)
        return tests

    def rows(self, call: Call, shelf: Shelf, ids: list[str]) -> list[bytes]:
        if not self.user_data:
            return super().rows(call, shelf, ids)
        return [self._with_user_data(call, call.view.get(Vm, id)) for id in ids]

    def _with_user_data(self, call: Call, row: Vm) -> bytes:
        plain = VmView.made(row, call.view)
        full = msgspec.structs.replace(plain, user_data=row.user_data or None)
        return for_rank(full, call.caller.rank)

    def _state(self, call: Call) -> Test:
        wanted, view = (self.state or "").lower(), call.view
        if wanted == PRESENT:
            return lambda row: state_in(view, row) not in LEAVING
        return lambda row: state_in(view, row).lower() == wanted


@command(
    "updateVirtualMachine",
    answers=Answers.ENTITY,
    shows=VmView,
    event="VM.UPDATE",
    java="org.apache.cloudstack.api.command.user.vm.UpdateVMCmd",
)
class UpdateVirtualMachine(ApiCommand):
    """Changes what a machine is called and what it finds when it boots."""

    id: Annotated[VmId, About("the id of the machine")]
    name: Annotated[str | None, About("its host name, from its next start on")] = None
    display_name: Annotated[str | None, About("the name shown")] = None
    group: Annotated[str | None, About("its group")] = None
    user_data: Annotated[
        str | None, About("what it finds when it boots, in Base64", length=rules.USER_DATA_MAX)
    ] = None
    os_type_id: Annotated[OsTypeId | None, About("its operating system")] = None
    delete_protection: Annotated[bool | None, About("it may not be destroyed")] = None

    async def run(self, call: Call) -> Vm:
        row = call.seen(Vm, self.id)
        call.note(owner=call.view.maybe(Account, row.account))
        nics = call.view.by(Nic, "vm", row.id)
        networks = [call.view.get(Network, nic.network) for nic in nics if self.name]
        wanted = {
            "name": checked_name(call, self.name, networks, row.id) if self.name else None,
            "display_name": self.display_name,
            "group": self.group,
            "user_data": rules.user_data(self.user_data) if self.user_data is not None else None,
            "os_type": self.os_type_id,
            "delete_protection": self.delete_protection,
        }
        columns = {column: value for column, value in wanted.items() if value is not None}
        if columns:
            call.change.update(Vm, row.id, revision=row.revision, **columns)
        for nic in nics if self.name and not row.given_back else ():
            call.change.update(Nic, nic.id, named=in_network(nic.network, self.name or ""))
        return row


def _on(hosts: set[str]) -> Test:
    return lambda row: row.host in hosts
