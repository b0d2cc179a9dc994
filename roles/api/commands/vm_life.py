"""Start, stop, reboot, destroy, recover and expunge machines.

A machine's orders queue up: each is accepted if it makes sense after those before it, so the
state is only held against an order while none is at work.
"""

from __future__ import annotations

from typing import Annotated

from csnode.api.about import About, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.faults import Denied, Invalid
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.orders import DestroyVm, ExpungeVm, RebootVm, StartVm, StopVm
from csnode.model.vm import Vm, VmState, Want
from csnode.types import ClusterId, HostId, PodId, VmId, VolumeId
from roles.api.commands.aim import AIMED, aim_of
from roles.api.commands.retake import take_again
from roles.api.views.vm import VmView, state_in


@command(
    "startVirtualMachine",
    answers=Answers.JOB,
    shows=VmView,
    event="VM.START",
    java="org.apache.cloudstack.api.command.user.vm.StartVMCmd",
)
class StartVirtualMachine(ApiCommand):
    """Starts a machine."""

    id: Annotated[VmId, About("the id of the machine")]
    host_id: Annotated[
        HostId | None, About("the host it is to run on; root admins only"), AIMED
    ] = None
    cluster_id: Annotated[
        ClusterId | None, About("the cluster it is to run in; root admins only"), AIMED
    ] = None
    pod_id: Annotated[PodId | None, About("the pod it is to run in; root admins only"), AIMED] = (
        None
    )

    async def run(self, call: Call) -> Job:
        row = _alive(call, self.id)
        aim = aim_of(call, self, row.zone)
        if not call.jobs(row.id) and state_in(call.view, row) is VmState.RUNNING:
            raise Invalid(f"The virtual machine {row.id} ({row.name}) is already running")
        if row.given_back:
            take_again(call, row)
        call.change.update(Vm, row.id, revision=row.revision, want=Want.RUNNING)
        return call.order(StartVm(vm=self.id, ha=row.want is Want.RUNNING, **aim))


@command(
    "stopVirtualMachine",
    answers=Answers.JOB,
    shows=VmView,
    event="VM.STOP",
    java="org.apache.cloudstack.api.command.user.vm.StopVMCmd",
)
class StopVirtualMachine(ApiCommand):
    """Stops a machine."""

    id: Annotated[VmId, About("the id of the machine")]
    forced: Annotated[bool, About("do not ask it first")] = False

    async def run(self, call: Call) -> Job:
        row = _alive(call, self.id)
        if not call.jobs(row.id) and state_in(call.view, row) is VmState.ERROR:
            raise Invalid(f"{_called(row)} is in state Error: {row.trouble}")
        call.change.update(Vm, row.id, revision=row.revision, want=Want.STOPPED)
        return call.order(StopVm(vm=self.id, forced=self.forced))


@command(
    "rebootVirtualMachine",
    answers=Answers.JOB,
    shows=VmView,
    event="VM.REBOOT",
    java="org.apache.cloudstack.api.command.user.vm.RebootVMCmd",
)
class RebootVirtualMachine(ApiCommand):
    """Reboots a running machine."""

    id: Annotated[VmId, About("the id of the machine")]
    forced: Annotated[bool, About("do not ask it first")] = False

    async def run(self, call: Call) -> Job:
        row = _alive(call, self.id)
        if not call.jobs(row.id) and (state := state_in(call.view, row)) is not VmState.RUNNING:
            raise Invalid(f"{_called(row)} is not running but {state}, so it cannot be rebooted")
        return call.order(RebootVm(vm=self.id, forced=self.forced))


@command(
    "destroyVirtualMachine",
    answers=Answers.JOB,
    shows=VmView,
    event="VM.DESTROY",
    java="org.apache.cloudstack.api.command.user.vm.DestroyVMCmd",
)
class DestroyVirtualMachine(ApiCommand):
    """Destroys a machine. It can be recovered until it is expunged."""

    id: Annotated[VmId, About("the id of the machine")]
    expunge: Annotated[bool, About("leave nothing of it")] = False
    volume_ids: Annotated[tuple[VolumeId, ...], About("data disks to delete: all go with it")] = ()

    async def run(self, call: Call) -> Job:
        row = _yours(call, self.id)
        if self.expunge:
            _may_expunge(call, "Parameter expunge can be passed by Admin only. Or")
        if row.delete_protection:
            raise Invalid(
                f"Instance [id = {row.id}, name = {row.name}] has delete protection enabled and "
                "cannot be deleted."
            )
        if row.want is Want.GONE:
            raise Invalid(f"{_called(row)} is being expunged")
        failed = not call.jobs(row.id) and state_in(call.view, row) is VmState.ERROR
        expunge = self.expunge or failed  # nobody could recover what never ran
        want = Want.GONE if expunge else Want.DESTROYED
        call.change.update(Vm, row.id, revision=row.revision, want=want)
        return call.order(DestroyVm(vm=self.id, expunge=expunge))


@command(
    "recoverVirtualMachine",
    answers=Answers.ENTITY,
    shows=VmView,
    event="VM.RECOVER",
    java="org.apache.cloudstack.api.command.admin.vm.RecoverVMCmd",
)
class RecoverVirtualMachine(ApiCommand):
    """Takes a destroyed machine back: it is stopped then."""

    id: Annotated[VmId, About("the id of the machine")]

    async def run(self, call: Call) -> Vm:
        row = _yours(call, self.id)
        _may_expunge(call, "Recovering a vm can only be done by an Admin. Or")
        if row.want is not Want.DESTROYED or call.jobs(row.id):
            raise Invalid(f"Vm with id {row.id} is not in the right state")
        call.change.update(Vm, row.id, revision=row.revision, want=Want.STOPPED)
        return row


@command(
    "expungeVirtualMachine",
    answers=Answers.JOB,
    event="VM.EXPUNGE",
    java="org.apache.cloudstack.api.command.admin.vm.ExpungeVMCmd",
)
class ExpungeVirtualMachine(ApiCommand):
    """Leaves nothing of a destroyed machine."""

    id: Annotated[VmId, About("the id of the machine")]

    async def run(self, call: Call) -> Job:
        row = _yours(call, self.id)
        _may_expunge(call, "Expunging a vm can only be done by an Admin. Or")
        failed = not call.jobs(row.id) and state_in(call.view, row) is VmState.ERROR
        if row.want not in (Want.DESTROYED, Want.GONE) and not failed:
            raise Invalid(f"Vm with id {row.id} is not in the right state")
        call.change.update(Vm, row.id, revision=row.revision, want=Want.GONE)
        return call.order(ExpungeVm(vm=self.id))


def _yours(call: Call, id: VmId) -> Vm:
    row = call.seen(Vm, id)
    call.note(owner=call.view.maybe(Account, row.account))
    return row


def _alive(call: Call, id: VmId) -> Vm:
    """Return the machine, which nobody has destroyed."""
    row = _yours(call, id)
    if row.want in (Want.DESTROYED, Want.GONE):
        raise Invalid(f"{_called(row)} is in state {state_in(call.view, row)}: recover it first")
    return row


def _may_expunge(call: Call, text: str) -> None:
    if call.caller.rank is Rank.USER and not call.options.users_may_expunge:
        raise Denied(f"{text} when the allow.user.expunge.recover.vm key is set.")


def _called(row: Vm) -> str:
    return f"The virtual machine {row.id} ({row.name})"
