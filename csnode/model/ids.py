"""How the ids of ranges, tallies, locks and leases are written, and read again.

Stored rows have them, and roles of other versions: a scheme that is here never changes. No other
module writes or reads them by hand (tests/unit/test_ids.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class RangeOf(StrEnum):
    """What the values of a range are; the first part of its id."""

    GUEST = "guest"  # addresses of a network's machines
    VNI = "vni"  # numbers of a zone's networks
    PUBLIC = "public"  # public addresses of a zone
    VM = "vm"  # numbers of all machines, in their instance names


VM_NUMBERS = RangeOf.VM.value  # of the whole cloud, so its id names nothing else


def guest_addresses(network: str) -> str:
    """Name the range of the addresses in a network."""
    return f"{RangeOf.GUEST}:{network}"


def vnis(zone: str) -> str:
    """Name the range of the numbers that a zone's networks have."""
    return f"{RangeOf.VNI}:{zone}"


def public_addresses(zone: str) -> str:
    """Name the range of a zone's public addresses."""
    return f"{RangeOf.PUBLIC}:{zone}"


def range_parts(range: str) -> tuple[str, str]:
    """Tell what the values of a range are (a RangeOf, unless a plug-in made it), and of what."""
    what, _, of = range.partition(":")
    return what, of


def taken_value(range: str, value: int) -> str:
    """Name the row that says who has the value: one for each value, so it has one owner."""
    return f"{range}={value}"


def taken_parts(taken: str) -> tuple[str, int]:
    """Tell the range and the value of a taken row."""
    range, _, value = taken.rpartition("=")
    return range, int(value)


OF_ACCOUNT, OF_LOGIN = "account:", "login:"


def account_usage(account: str) -> str:
    """Name the tally of what an account has. Those of hosts and pools have their owners' ids."""
    return OF_ACCOUNT + account


def account_in(tally: str) -> str:
    """Tell whose tally that is; the id as it is if it is no account's."""
    return tally.removeprefix(OF_ACCOUNT)


def failed_logins(user: str) -> str:
    """Name the tally of a user's wrong passwords."""
    return OF_LOGIN + user


LEFT = "left:"


def left_there(id: str) -> str:
    """Name what the tally of a host or pool counts for each thing that was dropped while the host
    was proven off: it is there until the host is taken back."""
    return LEFT + id


def left_in(used: Iterable[str]) -> list[str]:
    """Tell the ids of the things that a tally counts so."""
    return [what.removeprefix(LEFT) for what in used if what.startswith(LEFT)]


def object_name(kind: str, id: str) -> str:
    """Name an object of any kind: the lock on it, what a job needs alone, what verify found."""
    return f"{kind}:{id}"


def object_parts(name: str) -> tuple[str, str]:
    """Tell the kind and the id of an object that is named so."""
    kind, _, id = name.partition(":")
    return kind, id


ORCHESTRATORS = "orchestrator/"  # all their leases begin so


def orchestrator_lease(orchestrator: str) -> str:
    """Name the lease that says an orchestrator is alive."""
    return ORCHESTRATORS + orchestrator


def orchestrator_in(lease: str) -> str | None:
    """Tell whose lease that is; None if it is no orchestrator's."""
    return lease.removeprefix(ORCHESTRATORS) if lease.startswith(ORCHESTRATORS) else None


def in_network(network: str, what: str) -> str:
    """Name what is unique within a network, as a key that is unique in the cloud."""
    return f"{network}/{what.lower()}"


def within_network(key: str) -> str:
    """Tell what it is that is unique within a network."""
    return key.partition("/")[2]
