"""What is taken of ranges: each value has one owner, and whoever uses one has taken it (P2)."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator

from csnode.model.entity import Entity
from csnode.model.ids import (
    VM_NUMBERS,
    RangeOf,
    guest_addresses,
    public_addresses,
    range_parts,
    taken_value,
    vnis,
)
from csnode.model.network import Network, Nic
from csnode.model.stock import Range, Taken
from csnode.model.vm import Vm
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding, GiveBack, TakeAgain

TAKEN_BY_NOBODY = Check(
    "taken-by-nobody", "P2", "taken",
    cause="its owner was deleted without giving it back",
    remedy="give it back: else the range runs dry",
)  # fmt: skip
ADDRESS_NOT_TAKEN = Check(
    "address-not-taken", "P2", "nic",
    cause="somebody gave the address back while the card uses it",
    remedy="take it again, before somebody else gets it",
)  # fmt: skip
ADDRESS_TWICE = Check(
    "address-twice", "P2", "nic",
    cause="an address was given back while its card used it, and given out again",
    remedy="destroy one of the machines, or give it another address",
)  # fmt: skip
MAC_TWICE = Check(
    "mac-twice", "P2", "nic",
    cause="the constraint that keeps MACs apart is gone, or a row was edited",
    remedy="give one of the cards another MAC",
)  # fmt: skip
NAME_TWICE = Check(
    "name-twice", "P2", "vm",
    cause="the constraint that keeps names apart is gone, or a row was edited",
    remedy="rename one of the machines (updateVirtualMachine)",
)  # fmt: skip
VNI_NOT_TAKEN = Check(
    "vni-not-taken", "P2", "network",
    cause="somebody gave the VNI back while the network uses it",
    remedy="take it again, before another network gets it",
)  # fmt: skip
VNI_TWICE = Check(
    "vni-twice", "P2", "network",
    cause="a VNI was given back while its network used it: the two networks see each other",
    remedy="shut one of the networks down, and give it another VNI",
)  # fmt: skip
PUBLIC_NOT_TAKEN = Check(
    "public-address-not-taken", "P2", "network",
    cause="somebody gave the public address back while the network uses it",
    remedy="take it again, before another network gets it",
)  # fmt: skip
PUBLIC_TWICE = Check(
    "public-address-twice", "P2", "network",
    cause="a public address was given back while its network used it",
    remedy="shut one of the networks down, and give it another address",
)  # fmt: skip
NUMBER_NOT_TAKEN = Check(
    "number-not-taken", "P2", "vm",
    cause="somebody gave the instance number back while the machine has it",
    remedy="take it again, before another machine gets it",
)  # fmt: skip
NUMBER_TWICE = Check(
    "number-twice", "P2", "vm",
    cause="an instance number was given back while its machine had it",
    remedy="destroy one of the machines: on one host their domains have the same name",
)  # fmt: skip
GAVE_BACK_IN_USE = Check(
    "gave-back-in-use", "P2", "vm",
    cause="somebody edited a row, or a csnode of before started the machine",
    remedy="destroy the machine: what it uses is not counted, and may be another's",
)  # fmt: skip
NO_ADDRESS = Check(
    "card-without-address", "P2", "nic",
    cause="somebody edited a row of the card or of its machine",
    remedy="destroy the machine, and deploy it anew: no router can be told of the card",
)  # fmt: skip
OWNERS: dict[str, tuple[type[Entity], ...]] = {
    RangeOf.GUEST: (Nic, Network),  # the gateway is its network's
    RangeOf.VNI: (Network,),
    RangeOf.PUBLIC: (Network,),
    RangeOf.VM: (Vm,),
}


def owners(ev: Evidence) -> Iterator[Finding]:
    """Check that who took a value is still there."""
    for taken in ev.all(Taken):
        kinds = OWNERS.get(range_parts(taken.range)[0], ())
        if not any(taken.owner in ev.rows.of(kind) for kind in kinds) and kinds:
            cure = GiveBack(owner=taken.owner, owner_kind=kinds[0].kind, range=taken.range)
            what = f"{taken.id} is taken by {taken.owner}, which is no {kinds[0].kind}"
            yield TAKEN_BY_NOBODY.found(taken.id, what, repair=cure)


def addresses(ev: Evidence) -> Iterator[Finding]:
    """Check that cards have addresses, MACs and names of their own."""
    for nic in ev.all(Nic):
        if nic.address:
            range = guest_addresses(nic.network)
            yield from _taken(ev, ADDRESS_NOT_TAKEN, nic, range, _number(nic.address), nic.address)
    nics = [nic for nic in ev.all(Nic) if not _gave_back(ev, nic)]
    yield from _twice(ADDRESS_TWICE, ((n.network, n.address, n.id) for n in nics))
    yield from _twice(MAC_TWICE, ((n.network, n.mac.lower(), n.id) for n in nics))
    named = {(n.network, n.vm) for n in nics}
    vms = ((network, ev.get(Vm, id)) for network, id in named)
    yield from _twice(NAME_TWICE, ((at, vm.name.lower(), vm.id) for at, vm in vms if vm))


def _gave_back(ev: Evidence, nic: Nic) -> bool:
    """Tell whether the card's machine never ran and holds nothing: its things may be another's."""
    vm = ev.get(Vm, nic.vm)
    return vm is not None and vm.given_back


def given_back(ev: Evidence) -> Iterator[Finding]:
    """Check that a machine that gave back what it took uses nothing; others have all they need."""
    for vm in ev.all(Vm):
        nics = ev.nics_of.get(vm.id, ())
        if not vm.given_back:
            for nic in (nic for nic in nics if not nic.address):
                yield NO_ADDRESS.found(nic.id, f"card {nic.mac} of {vm.name} has no address")
            continue
        places = [ev.host_name(host) for host in sorted(vm.may_be_on)]
        held = [h for nic in nics for h in (nic.address, nic.named, nic.carded) if h]
        if places or held:
            what = f"{vm.name} gave back what it took, and has {', '.join((*places, *held))}"
            yield GAVE_BACK_IN_USE.found(vm.id, what)


def numbers(ev: Evidence) -> Iterator[Finding]:
    """Check that networks have VNIs and public addresses of their own.

    Machines are to have instance numbers of their own.
    """
    for network in ev.all(Network):
        range = vnis(network.zone)
        yield from _taken(ev, VNI_NOT_TAKEN, network, range, network.vni, network.vni)
        if at := network.public_address:
            range = public_addresses(network.zone)
            yield from _taken(ev, PUBLIC_NOT_TAKEN, network, range, _number(at), at)
    for vm in ev.all(Vm):
        yield from _taken(ev, NUMBER_NOT_TAKEN, vm, VM_NUMBERS, vm.number, vm.number)
    networks = list(ev.all(Network))
    yield from _twice(VNI_TWICE, ((n.zone, n.vni, n.id) for n in networks))
    yield from _twice(PUBLIC_TWICE, ((n.zone, n.public_address, n.id) for n in networks))
    yield from _twice(NUMBER_TWICE, (("", vm.number, vm.id) for vm in ev.all(Vm)))


def _taken(
    ev: Evidence, check: Check, row: Entity, range: str, value: int, shown: object
) -> Iterator[Finding]:
    taken = ev.rows.of(Taken).get(taken_value(range, value))
    if taken is not None and taken.owner == row.id:
        return
    cure = None
    if taken is None and ev.get(Range, range) is not None:
        cure = TakeAgain(kind=row.kind, id=row.id, revision=row.revision, range=range, value=value)
    whose = f"{taken.owner} has taken it" if taken else "nobody has taken it"
    yield check.found(row.id, f"it uses {shown} of {range}, and {whose}", repair=cure)


def _twice(check: Check, uses: Iterable[tuple[str, object, str]]) -> Iterator[Finding]:
    """Yield a finding for each user but the first of a value.

    Uses are (within what, value, user).
    """
    first: dict[tuple[str, object], str] = {}
    others: defaultdict[tuple[str, object], list[str]] = defaultdict(list)
    for within, value, user in uses:
        if value and first.setdefault((within, value), user) != user:
            others[within, value].append(user)
    for which, ids in others.items():
        one, *more = sorted((first[which], *ids))
        for id in more:
            yield check.found(id, f"it has {which[1]}, and so has {one}")


def _number(address: str) -> int:
    """Return an IPv4 address as its range counts it; 0 if it is none."""
    try:
        return int.from_bytes(socket.inet_aton(address), "big")
    except OSError:
        return 0


CHECKS = (owners, addresses, given_back, numbers)
