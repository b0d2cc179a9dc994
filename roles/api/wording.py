"""What the data service refused, in the words of users: names instead of ids, and what to do."""

from __future__ import annotations

from csnode.api.call import Call
from csnode.api.parse import no_such
from csnode.contracts.refusal import (
    Absent,
    AtLimit,
    Exists,
    Leaving,
    Moved,
    Needed,
    NotUnique,
    Reason,
    UsedUp,
    ValueTaken,
    reason_of,
)
from csnode.faults import Conflict, Fault, Full, Invalid
from csnode.model.entity import Entity
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account, Domain, User
from csnode.model.ids import RangeOf, account_in, range_parts, within_network
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Taken
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume

ADDRESSES, CAPACITY = 4320, 4325  # InsufficientAddressCapacity, InsufficientCapacity
AT_ONCE = 4300  # ConcurrentOperation
WORDS = {"vm": "virtual machine", "nic": "NIC", "offering": "service offering",
         "pool": "storage pool", "os_type": "OS type"}  # fmt: skip
NAMED: dict[str, type[Entity]] = {
    kind.kind: kind
    for kind in (
        Account, Cluster, DiskOffering, Domain, Host, Network, NetworkOffering, Offering, Pod,
        StoragePool, Template, User, Vm, Volume, Zone,
    )
}  # fmt: skip
IN_NETWORK = {"named": "host name", "carded": "MAC address"}  # see csnode.model.ids


def worded(fault: Fault, call: Call) -> Fault:
    """Word a fault as users are told it.

    It stays as it is if it has no reason of the data service.
    """
    reason = reason_of(fault)
    if reason is None:
        return fault
    made = _made(reason, call)
    made.detail = f"{fault.message} {fault.detail}"
    return made


def _made(reason: Reason, call: Call) -> Fault:
    match reason:
        case AtLimit():
            return _at_limit(reason, call)
        case UsedUp():
            return _used_up(reason, call)
        case ValueTaken():
            where = _place(call, reason.range)
            return Conflict(f"{reason.value} is already in use{where}.", code=431, cs=4350)
        case NotUnique():
            return _not_unique(reason)
        case Exists():
            return Conflict(f"A {_word(reason.kind)} with the id {reason.id} already exists.")
        case Moved():
            return Conflict(
                f"The {_called(call, reason.kind, reason.id)} is being changed by another request "
                "at this moment. Nothing was changed; please try again.",
                cs=AT_ONCE,
            )
        case Absent():
            return _absent(reason, call)
        case Leaving():
            text = f"The {_called(call, reason.kind, reason.id)} is being deleted."
            return Conflict(text, code=431, cs=4350)
        case Needed():
            return _needed(reason, call)


def limit_reached(account: Account, resource: str, limit: int, has: int, by: int) -> Full:
    """Word as CloudStack does that an account's limit is reached."""
    return Full(
        f"Maximum amount of resources of Type = '{resource}' for Account Name = {account.name} "
        f"in Domain Id = {account.domain} has been exceeded: Account Resource Limit = {limit}, "
        f"Current Account Resource Amount = {has}, Requested Resource Amount = {by}.",
        code=535,
        cs=4370,
    )


def _at_limit(reason: AtLimit, call: Call) -> Fault:
    account = call.view.maybe(Account, account_in(reason.owner))
    if account is not None:
        return limit_reached(account, reason.resource, reason.limit, reason.has, reason.by)
    return Full(
        f"Maximum amount of resources of Type = '{reason.resource}' has been exceeded: "
        f"Limit = {reason.limit}, Current Amount = {reason.has}, Requested Amount = {reason.by}.",
        code=535,
        cs=4370,
    )


def _used_up(reason: UsedUp, call: Call) -> Fault:
    words: dict[str, tuple[str, int]] = {
        RangeOf.GUEST: ("an IP address", ADDRESSES),
        RangeOf.PUBLIC: ("a public IP address", ADDRESSES),
        RangeOf.VNI: ("a network number (VNI)", CAPACITY),
    }
    what = words.get(range_parts(reason.range)[0], ("a number", CAPACITY))
    where = f"{_place(call, reason.range)}: all from {reason.first} to {reason.last} are in use"
    return Full(f"Unable to allocate {what[0]}{where}.", cs=what[1])


def _not_unique(reason: NotUnique) -> Fault:
    if reason.column in IN_NETWORK:
        value = within_network(reason.value)
        text = f"The {IN_NETWORK[reason.column]} {value} already exists in the network."
    else:
        text = f"A {_word(reason.kind)} with {reason.column}: {reason.value} already exists."
    return Conflict(text, code=431, cs=4350)


def _absent(reason: Absent, call: Call) -> Fault:
    """Name the parameter whose object was there when the request was read, and went since."""
    for parameter, value in call.asked.params.items():
        if reason.id in value.split(","):
            return no_such(call.asked.command, parameter, reason.id)
    return Invalid(f"The {_word(reason.kind)} {reason.id} does not exist any more.")


def _needed(reason: Needed, call: Call) -> Fault:
    user = f"the {_called(call, reason.by, reason.by_id)}"
    card = call.view.maybe(Nic, reason.by_id)
    if card is not None:
        user = f"the {_called(call, Vm.kind, card.vm)}"
    elif reason.by == Taken.kind:
        user = "those who have addresses or numbers of it"
    what = _called(call, reason.kind, reason.id)
    return Conflict(f"The {what} is still in use by {user}.", code=431, cs=4350)


def _place(call: Call, range: str) -> str:
    """Return where the values of a range are used, as ` in network web`."""
    what, id = range_parts(range)
    kind: type[Network | Zone] = Network if what == RangeOf.GUEST else Zone
    row = call.view.maybe(kind, id)
    return f" in {kind.kind} {row.name}" if row is not None else ""


def _called(call: Call, kind: str, id: str) -> str:
    row = call.view.maybe(NAMED[kind], id) if kind in NAMED else None
    name = getattr(row, "display_name", "") or getattr(row, "name", "") or id
    return f"{_word(kind)} {name}"


def _word(kind: str) -> str:
    return WORDS.get(kind, kind.replace("_", " "))
