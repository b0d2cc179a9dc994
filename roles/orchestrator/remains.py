"""The records of a machine, what its account is counted for, and how all that is given back."""

from __future__ import annotations

from typing import Any

from csnode.directory.directory import floor
from csnode.faults import Conflict
from csnode.model.footprint import footprint
from csnode.model.ids import account_usage
from csnode.model.job import Job
from csnode.model.network import Nic
from csnode.model.orders import DeployVm, StartVm
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from roles.orchestrator.machine import MachineSaga

STARTS = (DeployVm.verb(), StartVm.verb())
TAKEN_AGAIN_SINCE = 4  # the wire number of the first api that takes again, see `give_back`


async def erase_records(saga: MachineSaga[Any]) -> None:
    """Add to the saga's last commit: rows gone, addresses free, tallies lowered.

    Raises Conflict while a host may still have a domain of the machine: with the address of a
    ghost, no other machine would be safe.
    """
    vm, volumes, nics = await saga.vm(), await saga.volumes(), await saga.nics()
    if vm.maybe_on:
        raise Conflict(f"host {vm.maybe_on[0]} may still run machine {vm.name}")
    change = saga.change
    for nic in nics:
        change.give(nic.id)
        change.delete(Nic, nic.id)
    for volume in volumes:
        change.delete(Volume, volume.id)
    change.give(vm.id)
    if not vm.given_back:
        _uncount(saga, vm, volumes)
    change.delete(Vm, vm.id)


async def give_back(saga: MachineSaga[Any], vm: Vm) -> None:
    """Add to the commit that ends a failed start: what the machine took is free, for it never ran.

    Its row stays, to say why. Nothing is given back while a host may have a domain of it, a pool
    its bytes, or another order is to start it.
    """
    if vm.given_back or vm.started or not _is_understood(saga):
        return
    volumes, nics = await saga.volumes(), await saga.nics()
    if vm.may_be_on or any(volume.pool for volume in volumes):
        return
    change = saga.change
    change.update(Vm, vm.id, revision=vm.revision)  # no column: a proof that none was ordered since
    others = [job for job in saga.view.by(Job, "holds", vm.id) if job.id != saga.job.id]
    starts = [job for job in others if job.verb in STARTS]
    for job in starts:
        change.update(Job, job.id, revision=job.revision)  # a proof that it has not ended since
    if starts:
        return
    change.update(Vm, vm.id, given_back=True)
    _uncount(saga, vm, volumes)
    for nic in nics:
        change.give(nic.id)
        change.update(Nic, nic.id, named=None, carded=None, address="", last_address=nic.address)


def _uncount(saga: MachineSaga[Any], vm: Vm, volumes: list[Volume]) -> None:
    """Add to the commit that the account has the machine no more."""
    held = footprint(vm, [volume.size for volume in volumes])
    saga.change.uncount(account_usage(vm.account), held)


def _is_understood(saga: MachineSaga[Any]) -> bool:
    """Tell whether nobody would start the machine, or erase it, as if it had not given back."""
    members = saga.bus.directory.members()
    deciding = [m for m in members if not {"api", "data", "orchestrator"}.isdisjoint(m.roles)]
    return floor(deciding) >= TAKEN_AGAIN_SINCE
