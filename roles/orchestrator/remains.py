"""The records of a machine, and what its account is counted for."""

from __future__ import annotations

from typing import Any

from csnode.faults import Conflict
from csnode.model.network import Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from roles.orchestrator.machine import MachineSaga

GIB = 1 << 30


def footprint(vm: Vm, volumes: list[Volume]) -> dict[str, int]:
    """What a machine counts for in its account's tally; the api counts the same when it is made."""
    return {
        "user_vm": 1,
        "cpu": vm.cpus,
        "memory": vm.memory_mib,
        "volume": len(volumes),
        "primary_storage": sum(-(-v.size // GIB) for v in volumes),
    }


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
    change.count(f"account:{vm.account}", {k: -n for k, n in footprint(vm, volumes).items()})
    change.delete(Vm, vm.id)
