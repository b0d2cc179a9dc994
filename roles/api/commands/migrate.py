"""migrateVirtualMachine, migrateVirtualMachineWithVolume, findHostsForMigration.

Disks that the target cannot open where they are go along with the machine, whichever of the first
two is asked; the second also lets their pools be chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec

from csnode.api.about import About, Free, Map, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ListCommand, Test
from csnode.api.parse import no_such
from csnode.api.shelf import Shelf
from csnode.api.view import Shown, for_rank
from csnode.data.view import View
from csnode.faults import Invalid
from csnode.model.fit import need_of, places, reach_of, why_not
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.offering import Offering
from csnode.model.orders import MigrateVm
from csnode.model.place import Cluster, Pod
from csnode.model.stock import Tally, usage
from csnode.model.vm import Vm, VmState
from csnode.model.volume import Volume
from csnode.types import HostId, PoolId, VmId
from roles.api.views.host import HostView
from roles.api.views.vm import VmView, state_in


class MigrationHostView(HostView):
    """A host, as seen from a machine that may move there."""

    memory_allocated: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        str, About("bytes of memory given out; text, here only")
    ]
    suitable_for_migration: Annotated[bool, About("whether the machine may move here")]
    requires_storage_motion: Annotated[bool, About("whether disks would have to be copied")] = (
        msgspec.field(name="requiresStorageMotion")
    )
    unsuitable_reason: Annotated[str | None, About("why the machine may not move here")] = None


@command(
    "migrateVirtualMachine",
    answers=Answers.JOB,
    shows=VmView,
    allows=Rank.ROOT_ADMIN,
    event="VM.MIGRATE",
    java="org.apache.cloudstack.api.command.admin.vm.MigrateVMCmd",
)
class MigrateVirtualMachine(ApiCommand):
    """Moves a running machine to another host; it runs all the while."""

    virtual_machine_id: Annotated[VmId, About("the id of the machine")]
    host_id: Annotated[HostId | None, About("the host it is to move to")] = None
    storage_id: Annotated[
        PoolId | None, About("the pool that a stopped machine's disks are to move to: not possible")
    ] = None
    auto_select: Annotated[bool, About("choose a host if none is given", since="4.16.0")] = True

    async def run(self, call: Call) -> Job:
        if self.storage_id is not None:
            raise Invalid(
                "Disks of a stopped machine cannot be moved to another pool (storageid); those of "
                "a running one go along: give hostid, or use migrateVirtualMachineWithVolume"
            )
        row = _movable(call, self.virtual_machine_id)
        if self.host_id is None and not self.auto_select:
            raise Invalid("Either hostid must be specified, or autoselect must be true")
        return call.order(MigrateVm(vm=VmId(row.id), host=_host(call, row, self.host_id)))


@command(
    "migrateVirtualMachineWithVolume",
    answers=Answers.JOB,
    shows=VmView,
    allows=Rank.ROOT_ADMIN,
    event="VM.MIGRATE",
    java="org.apache.cloudstack.api.command.admin.vm.MigrateVirtualMachineWithVolumeCmd",
)
class MigrateVirtualMachineWithVolume(ApiCommand):
    """Moves a running machine and its disks to another host; it runs all the while."""

    virtual_machine_id: Annotated[VmId, About("the id of the machine")]
    host_id: Annotated[HostId | None, About("the host it is to move to")] = None
    migrate_to: Annotated[
        Map,
        About("where disks are to go: migrateto[0].volume=..&migrateto[0].pool=.."),
        Free("the disks of the machine, which the command looks through"),
    ] = ()
    auto_select: Annotated[bool, About("choose a host if none is given", since="4.19.0.0")] = False

    async def run(self, call: Call) -> Job:
        row = _movable(call, self.virtual_machine_id)
        if self.host_id is None and not self.migrate_to and not self.auto_select:
            raise Invalid(
                "Either hostid or migrateto must be specified, or autoselect must be true"
            )
        pools = dict(_goal(call, row, entry) for entry in self.migrate_to)
        host = _host(call, row, self.host_id)
        return call.order(MigrateVm(vm=VmId(row.id), host=host, pools=pools))


@command(
    "findHostsForMigration",
    answers=Answers.LIST,
    shows=MigrationHostView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.host.FindHostsForMigrationCmd",
)
class FindHostsForMigration(ListCommand):
    """Lists the other hosts of a machine's zone, and whether it may move there."""

    shown: ClassVar[type[Shown]] = HostView

    virtual_machine_id: Annotated[VmId, About("the id of the machine")]

    def tests(self, call: Call) -> list[Test]:
        vm = _movable(call, self.virtual_machine_id)
        return [lambda host: host.id != vm.host and host.zone == vm.zone]

    def rows(self, call: Call, shelf: Shelf, ids: list[str]) -> list[bytes]:
        del shelf  # it keeps hosts as they are to everybody
        vm = call.view.get(Vm, self.virtual_machine_id)
        why = _judge(call.view, vm)
        near = _near(call.view, vm)
        return [
            for_rank(_seen_from(call.view, id, why(id), id not in near), call.caller.rank)
            for id in ids
        ]


def _seen_from(view: View, id: str, why: str, copies: bool) -> MigrationHostView:
    plain = HostView.made(view.get(Host, id), view)
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    fields |= {
        "memory_allocated": str(plain.memory_allocated),
        "suitable_for_migration": not why,
        "requires_storage_motion": copies,
        "unsuitable_reason": why or None,
    }
    return MigrationHostView(**fields)


def _judge(view: View, vm: Vm) -> Callable[[str], str]:
    """Say of a host why the machine cannot move there; "" if it can."""
    hosts = list(view.all(Host))
    source = view.maybe(Host, vm.host)
    kind = source.hypervisor if source else ""
    anywhere = reach_of(list(view.all(StoragePool)), ())
    need = need_of(
        vm, view.get(Offering, vm.offering), anywhere, leaves=vm.host or "", hypervisor=kind
    )
    within = places(view.all(Cluster), view.all(Pod))
    used = {host.id: usage(view.maybe(Tally, host.id)) for host in hosts}
    return lambda host: why_not(need, view.get(Host, host), within, used)


def _near(view: View, vm: Vm) -> frozenset[str]:
    """Find the hosts that can open all its disks where they are."""
    pools = [volume.pool for volume in view.by(Volume, "vm", vm.id) if volume.pool is not None]
    return reach_of(list(view.all(StoragePool)), pools)


def _movable(call: Call, id: VmId) -> Vm:
    """Return the machine, which runs; what waits in line before us may stop it yet."""
    row = call.seen(Vm, id, "virtualmachineid")
    call.note(owner=call.view.maybe(Account, row.account))
    if not call.jobs(row.id) and (state := state_in(call.view, row)) is not VmState.RUNNING:
        raise Invalid(f"VM is not Running but {state}, unable to migrate the vm {row.name}")
    return row


def _host(call: Call, vm: Vm, id: HostId | None) -> HostId | None:
    if id is None:
        return None
    host = call.seen(Host, id, "hostid")
    if host.id == vm.host:
        raise Invalid(
            "Cannot migrate VM, VM is already present on this host, please specify valid "
            "destination host to migrate the VM"
        )
    if host.maintenance:
        raise Invalid(f"Cannot migrate VM, host {host.name} is in maintenance")
    return id


def _goal(call: Call, vm: Vm, entry: dict[str, str]) -> tuple[str, PoolId]:
    """Return the volume's id and where it is to go."""
    volume = call.view.maybe(Volume, entry.get("volume"))
    if volume is None or volume.vm != vm.id:
        raise Invalid(f"migrateto: {entry.get('volume')} is no volume of the machine {vm.name}")
    pool = call.view.maybe(StoragePool, entry.get("pool"))
    if pool is None:
        raise no_such(call.asked.command, "migrateto", entry.get("pool", ""))
    return volume.id, PoolId(pool.id)
