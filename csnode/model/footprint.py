"""What an account's things count for, and what limits hold. Pure: rows in, numbers out.

Machines and their disks are counted in the account's tally, and limited by it. Networks, public
addresses and templates are only shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from csnode.model.identity import Account
from csnode.model.network import Network
from csnode.model.offering import Offering
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import GIB

COUNTED = ("user_vm", "cpu", "memory", "volume", "primary_storage")


def footprint(size: Vm | Offering, disks: Sequence[int]) -> dict[str, int]:
    """Say what a machine of that size counts for, with disks of so many bytes each."""
    return {
        "user_vm": 1,
        "cpu": size.cpus,
        "memory": size.memory_mib,
        "volume": len(disks),
        "primary_storage": sum(-(-disk // GIB) for disk in disks),
    }


def uncounted(networks: Iterable[Network], templates: Iterable[Template]) -> dict[str, int]:
    """Add up what an account has that no tally counts: its networks and templates are given."""
    rows = list(networks)
    return {
        "network": len(rows),
        "public_ip": sum(bool(network.public_address) for network in rows),
        "template": sum(not template.gone for template in templates),
    }


def limits_of(account: Account, of: Iterable[str] | None = None) -> dict[str, int]:
    """Return the limits that hold, in the order of the resources asked for; None: of all.

    A resource without a limit, or with one below 0, is unlimited.
    """
    limits = account.limits
    wanted = limits if of is None else of
    return {what: limits[what] for what in wanted if limits.get(what, -1) >= 0}


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
