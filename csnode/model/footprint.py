"""What machines and their disks count for in their account's tally. Pure: rows in, numbers out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from csnode.model.offering import Offering
from csnode.model.vm import Vm
from csnode.model.volume import Volume

COUNTED = ("user_vm", "cpu", "memory", "volume", "primary_storage")
GIB = 1 << 30


def footprint(size: Vm | Offering, disks: Sequence[int]) -> dict[str, int]:
    """Say what a machine of that size counts for, with disks of so many bytes each."""
    return {
        "user_vm": 1,
        "cpu": size.cpus,
        "memory": size.memory_mib,
        "volume": len(disks),
        "primary_storage": sum(-(-disk // GIB) for disk in disks),
    }


def footprints(vms: Iterable[Vm], volumes: Iterable[Volume]) -> dict[str, Counter[str]]:
    """Add up what each account's machines count for, by the account's id.

    One that has given back what it took counts for nothing.
    """
    disks: defaultdict[str, list[int]] = defaultdict(list)
    for volume in volumes:
        if volume.vm is not None:
            disks[volume.vm].append(volume.size)
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for vm in vms:
        if vm.given_back:
            continue
        sums[vm.account].update(footprint(vm, disks.get(vm.id, ())))
    return sums
