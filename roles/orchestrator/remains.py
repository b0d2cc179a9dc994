"""The records of a machine, and how they go."""

from __future__ import annotations

from typing import Any

from csnode.faults import Conflict
from csnode.model.footprint import OF_ACCOUNT, footprint
from csnode.model.network import Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from roles.orchestrator.machine import MachineSaga


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
    held = footprint(vm, [volume.size for volume in volumes])
    change.uncount(OF_ACCOUNT + vm.account, held)
    change.delete(Vm, vm.id)
