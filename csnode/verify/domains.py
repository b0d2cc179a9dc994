"""Machines outside: every domain has its record, and every running machine its domain (P2, P8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from csnode.model.machine import FoundDomain
from csnode.model.vm import Vm
from csnode.types import HostId, Power, VmId
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding, RemoveDomain
from csnode.verify.machines import stopped

GHOST = Check(
    "domain-without-record", "P8", "domain",
    cause="a start whose answer came after it was undone, or a database older than the host",
    remedy="remove the domain; its disks are not touched",
)  # fmt: skip
OF_STOPPED = Check(
    "domain-of-stopped", "P8", "domain",
    cause="a start or a stop was given up while the host did not answer",
    remedy="remove the domain: the machine is not to be anywhere",
)  # fmt: skip
TWICE = Check(
    "machine-twice", "P2", "domain",
    cause="it was started elsewhere before its old host had proven that it is gone",
    remedy="remove the one that the record does not name, at once: both write to its disks",
)  # fmt: skip
ELSEWHERE = Check(
    "machine-elsewhere", "P2", "domain",
    cause="somebody moved it by hand, or the database is older than the hosts",
    remedy="stop the machine on that host and start it again",
)  # fmt: skip
LOST = Check(
    "domain-gone", "P8", "vm",
    cause="somebody undefined it, or the host lost its machines",
    remedy="stop the machine: then it can be started again",
)  # fmt: skip
IS_OFF = Check(
    "machine-off", "P8", "vm",
    cause="the guest halted, and the host's report is not in yet",
    remedy="stop the machine: what it holds is given back",
)  # fmt: skip
IS_ON = Check(
    "machine-on", "P8", "vm",
    cause="somebody started it by hand, and the host's report is not in yet",
    remedy="wait for the report (15 s); then stop the machine if it is not to run",
)  # fmt: skip
OTHER_DISKS = Check(
    "disks-differ", "P8", "vm",
    cause="somebody attached or detached a disk by hand",
    remedy="stop the machine and start it again: the domain is made anew from its record",
)  # fmt: skip
OTHER_CARDS = Check(
    "cards-differ", "P8", "vm",
    cause="somebody attached or detached a card by hand",
    remedy="stop the machine and start it again: the domain is made anew from its record",
)  # fmt: skip


def strays(ev: Evidence) -> Iterator[Finding]:
    """Find domains that are not where the record says, or that no record knows."""
    hosts = _hosts_of(ev)
    for host, domains in ev.domains.items():
        for domain in domains:
            if domain.vm in ev.moving:
                continue
            vm = ev.get(Vm, domain.vm)
            if vm is None:
                what = f"{ev.host_name(host)} has a domain ({domain.power}) that no record knows"
                yield GHOST.found(domain.vm, what, host=host, repair=_removed(host, domain))
            elif vm.host != host:
                yield _misplaced(ev, vm, domain, host, hosts[domain.vm])


def _misplaced(ev: Evidence, vm: Vm, domain: FoundDomain, host: str, hosts: list[str]) -> Finding:
    """Return the finding for a domain elsewhere than its record says.

    Only a running machine's single domain is left to people: removing it would stop it.
    """
    at = f"{ev.host_name(host)} has {vm.name} ({domain.power})"
    cure = _removed(host, domain)
    if vm.host is None:
        what = f"{at}, which is to be on no host"
        return OF_STOPPED.found(vm.id, what, host=host, repair=cure)
    if vm.host in hosts:
        what = f"{at}, and so has {ev.host_name(vm.host)}, where it belongs"
        return TWICE.found(vm.id, what, host=host, repair=cure)
    what = f"{at}, but its record says {ev.host_name(vm.host)}"
    runs = domain.power is Power.ON
    return ELSEWHERE.found(vm.id, what, host=host, repair=None if runs else cure)


def records(ev: Evidence) -> Iterator[Finding]:
    """Check that machines that have a host are there, as their record says."""
    found = {host: {d.vm: d for d in domains} for host, domains in ev.domains.items()}
    hosts = _hosts_of(ev)
    for vm in ev.all(Vm):
        if vm.host is None or vm.host not in found or vm.id in ev.moving:
            continue
        domain = found[vm.host].get(VmId(vm.id))
        name, on = vm.name, vm.power is Power.ON
        if domain is None:
            if on and not hosts.get(vm.id):
                what = f"{name} is on {ev.host_name(vm.host)} by its record; no host has it"
                yield LOST.found(vm.id, what, host=vm.host, repair=stopped(vm))
        elif domain.power is Power.ON:
            if not on:
                yield IS_ON.found(
                    vm.id, f"{name} runs, and its record says {vm.power}", host=vm.host
                )
            yield from _shape(ev, vm, domain)
        elif on:
            what = f"{name} is {domain.power}, and its record says that it runs"
            yield IS_OFF.found(vm.id, what, host=vm.host, repair=stopped(vm))


def _shape(ev: Evidence, vm: Vm, domain: FoundDomain) -> Iterator[Finding]:
    """Return the disks by the volume ids in their paths, and the cards by their MACs."""
    volumes, disks = ev.volumes_of.get(vm.id, ()), domain.disks
    if len(volumes) != len(disks) or any(
        volume.id not in path for volume, path in zip(volumes, disks, strict=True)
    ):
        wanted = [volume.id for volume in volumes]
        what = f"{vm.name} runs with {_list(disks)}; its volumes are {_list(wanted)}"
        yield OTHER_DISKS.found(vm.id, what, host=str(vm.host))
    macs = tuple(nic.mac.lower() for nic in ev.nics_of.get(vm.id, ()))
    if macs != domain.macs and sorted(macs) != sorted(domain.macs):
        what = f"{vm.name} runs with {_list(domain.macs)}; its cards are {_list(macs)}"
        yield OTHER_CARDS.found(vm.id, what, host=str(vm.host))


def _hosts_of(ev: Evidence) -> dict[str, list[str]]:
    """Return where each machine was found."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for host, domains in ev.domains.items():
        for domain in domains:
            found[domain.vm].append(host)
    return found


def _removed(host: str, domain: FoundDomain) -> RemoveDomain:
    return RemoveDomain(host=HostId(host), vm=domain.vm)


def _list(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"


CHECKS = (strays, records)
