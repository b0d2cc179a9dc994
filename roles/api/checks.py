"""What commands about places check, and say if it is wrong."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Any

from csnode.api.call import Call
from csnode.faults import Conflict, Invalid
from csnode.model.entity import Entity
from csnode.model.place import Cluster, Pod, Zone

HYPERVISORS = ("KVM", "Simulator")


def enabled_of(text: str | None, otherwise: bool) -> bool:
    """What an allocationstate says. Raises Invalid."""
    if not text:
        return otherwise
    word = text.lower()
    if word not in ("enabled", "disabled"):
        raise Invalid(f"allocationstate must be Enabled or Disabled, not {text}")
    return word == "enabled"


def check_free(call: Call, kind: type[Entity], name: str, **where: str) -> None:
    """Raises Conflict if a row of that kind, there, has the name."""
    if not name.strip():
        raise Invalid("name must not be empty")
    for row in call.view.by(kind, "name", name):
        if all(getattr(row, column) == value for column, value in where.items()):
            raise Conflict(f"A {kind.kind} with name: {name} already exists.", code=431, cs=4350)


def check_empty(
    call: Call, row: Zone | Pod | Cluster, column: str, inside: tuple[type[Any], ...]
) -> None:
    """Raises Conflict that says what is still there, and how much."""
    found = {kind.kind: len(call.view.by(kind, column, row.id)) for kind in inside}
    left = ", ".join(f"{count} of kind {kind}" for kind, count in found.items() if count)
    if left:
        raise Conflict(f"The {row.kind} {row.name} is not empty: {left}", code=431, cs=4350)


def given(**columns: str | None) -> dict[str, Any]:
    """The columns that were named."""
    return {column: value for column, value in columns.items() if value}


def address_of(text: str | None, parameter: str) -> str:
    """An IPv4 address as it is usually written; "" if none is named. Raises Invalid."""
    if not text:
        return ""
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise Invalid(f"{parameter.replace('_', '')} must be an IPv4 address, not {text}") from None


def cidr_of(text: str | None) -> str:
    """A private prefix; "" if none is named. Raises Invalid."""
    if not text:
        return ""
    try:
        network = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise Invalid(f"guestcidraddress must be a prefix like 10.1.1.0/24, not {text}") from None
    if not network.is_private:
        raise Invalid(f"guestcidraddress must be private (RFC 1918), not {text}")
    return str(network)


def span_of(
    gateway: str | None, netmask: str | None, start: str | None, end: str | None
) -> dict[str, str]:
    """A pod's addresses, checked together; all of them or none."""
    given = {"gateway": gateway, "netmask": netmask, "startip": start}
    if not any(given.values()):
        return {}
    lacking = [name for name, value in given.items() if not value]
    if lacking:
        raise Invalid(f"{', '.join(lacking)}: needed if a pod's addresses are named at all")
    try:
        network = IPv4Network(f"{gateway}/{netmask}", strict=False)
        first, last = IPv4Address(start), IPv4Address(end or start)
    except ValueError as error:
        raise Invalid(f"gateway, netmask, startip or endip: {error}") from None
    if first not in network or last not in network or first > last:
        raise Invalid(f"startip to endip must lie in {network}, in this order")
    if first <= IPv4Address(gateway or "") <= last:
        raise Invalid(f"the gateway {gateway} lies between startip and endip")
    return {
        "gateway": str(gateway),
        "netmask": str(network.netmask),
        "start_ip": str(first),
        "end_ip": str(last),
    }


def hypervisor_of(text: str) -> str:
    """Its name as rows have it. Raises Invalid."""
    for known in HYPERVISORS:
        if known.lower() == text.lower():
            return known
    raise Invalid(f"hypervisor must be one of {', '.join(HYPERVISORS)}, not {text}")
