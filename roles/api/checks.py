"""What commands about places check, and say if it is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from csnode.api.call import Call
from csnode.clock import wall
from csnode.faults import Conflict, Invalid
from csnode.model import rules
from csnode.model.entity import Entity
from csnode.model.host import Retired, StoragePool
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.room import BYTES, bytes_promised
from csnode.model.stock import Tally

HYPERVISORS = ("KVM", "Simulator")


def enabled_of(text: str | None, otherwise: bool) -> bool:
    """Tell whether an allocationstate says Enabled. Raises Invalid."""
    if not text:
        return otherwise
    word = text.lower()
    if word not in ("enabled", "disabled"):
        raise Invalid(f"allocationstate must be Enabled or Disabled, not {text}")
    return word == "enabled"


def tags_of(tags: str | Iterable[str] | None) -> tuple[str, ...]:
    """Read tags, given with commas or as a list: none is empty, none there twice."""
    given = tags.split(",") if isinstance(tags, str) else tags or ()
    return tuple(dict.fromkeys(tag.strip() for tag in given if tag.strip()))


def check_free(call: Call, kind: type[Entity], name: str, **where: str) -> None:
    """Raise Conflict if a row of that kind, there, has the name."""
    if not name.strip():
        raise Invalid("name must not be empty")
    for row in call.view.by(kind, "name", name):
        if all(getattr(row, column) == value for column, value in where.items()):
            raise Conflict(f"A {kind.kind} with name: {name} already exists.", code=431, cs=4350)


def check_empty(
    call: Call, row: Zone | Pod | Cluster, column: str, inside: tuple[type[Any], ...]
) -> None:
    """Raise Conflict that says what is still there, and how much."""
    found = {kind.kind: len(call.view.by(kind, column, row.id)) for kind in inside}
    left = ", ".join(f"{count} of kind {kind}" for kind, count in found.items() if count)
    if left:
        raise Conflict(f"The {row.kind} {row.name} is not empty: {left}", code=431, cs=4350)


def given(**columns: str | None) -> dict[str, Any]:
    """Return the columns that were named."""
    return {column: value for column, value in columns.items() if value}


def address_of(text: str | None, parameter: str) -> str:
    """Check a name server's address; "" if none is named. Raises Invalid."""
    return rules.dns_server(text, parameter.replace("_", "")) if text else ""


def domain_of(text: str | None) -> str:
    """Check a DNS suffix; "" if none is named. Raises Invalid."""
    return rules.network_domain(text) if text else ""


def cidr_of(text: str | None, public_cidr: str = "") -> str:
    """Check the guest network of a zone, apart from its public range; "" if none is named.

    Its first address will be the gateway's. Raises Invalid.
    """
    if not text:
        return ""
    try:
        found = rules.ipv4_network(text, "guest network")
        rules.guest_network(text, str(found.network_address + 1))
        if public_cidr:
            rules.check_apart(found, IPv4Network(public_cidr))
    except Invalid as invalid:
        raise Invalid(f"guestcidraddress: {invalid.message}") from invalid
    return text


def span_of(
    gateway: str | None, netmask: str | None, start: str | None, end: str | None
) -> dict[str, str]:
    """Return a pod's addresses, checked together; all of them or none."""
    given = {"gateway": gateway, "netmask": netmask, "startip": start}
    if not any(given.values()):
        return {}
    lacking = [name for name, value in given.items() if not value]
    if lacking:
        raise Invalid(f"{', '.join(lacking)}: needed if a pod's addresses are named at all")
    network = rules.network_of(gateway or "", netmask or "")
    first = rules.host_in(start or "", network, "startip")
    last = rules.host_in(end or start or "", network, "endip")
    check_span(first, last, rules.host_in(gateway or "", network, "gateway"))
    return {
        "gateway": str(gateway),
        "netmask": str(network.netmask),
        "start_ip": str(first),
        "end_ip": str(last),
    }


def check_span(first: IPv4Address, last: IPv4Address, gateway: IPv4Address) -> None:
    """Raise Invalid if the addresses from first to last are none, or the gateway is among them."""
    if first > last:
        raise Invalid(f"startip {first} lies behind endip {last}")
    if first <= gateway <= last:
        raise Invalid(f"the gateway {gateway} lies between startip and endip")


def hypervisor_of(text: str) -> str:
    """Return a hypervisor's name as rows have it. Raises Invalid."""
    for known in HYPERVISORS:
        if known.lower() == text.lower():
            return known
    raise Invalid(f"hypervisor must be one of {', '.join(HYPERVISORS)}, not {text}")


def retire_pool(call: Call, pool: StoragePool) -> None:
    """Take the pool out of the cloud, with its tally. Raises Conflict while it has promised room.

    Disks that are on their way there are named by no row but their job's: the tally has them. The
    count has the commit refused if one is promised meanwhile: it adds 1 byte, up to a limit of 1.
    """
    if (bytes := bytes_promised(call.view.maybe(Tally, pool.id))) > 0:
        raise Conflict(
            f"{pool.name} has promised {bytes} bytes to disks: a migration copies one there, or "
            "an earlier one is stuck (`csnode job list` tells). Try again once it has ended",
            code=431,
            cs=4350,
        )
    call.change.count(pool.id, {BYTES: 1}, {BYTES: 1})
    call.change.delete(Tally, pool.id)
    call.change.delete(StoragePool, pool.id, revision=pool.revision)
    call.change.create(Retired(id=pool.id, name=pool.name, since=wall()))
