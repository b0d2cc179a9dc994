"""What a network driver accepts: everything here ends up in commands, rules or files.

Names and data come from users, so each field is held against the form it must have; nothing is
escaped, since no form allows what would need it. Raises Invalid.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, ip_address

from csnode.faults import Invalid
from csnode.model.machine import GuestNetwork, GuestNic

LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123, 2.1
TAKEN = "data-server"  # the router's own name, as CloudStack's guests ask for it
USER_DATA_MAX = 1024 * 1024  # bytes; the API's own limit is lower


def check_network(network: GuestNetwork) -> None:
    """The network's addresses fit each other, and its domain is one."""
    guest = _range(network.cidr, "the guest network")
    gateway = _inside(network.gateway, guest, "the gateway")
    if gateway in {guest.network_address, guest.broadcast_address}:
        raise Invalid(f"the gateway {gateway} is no address of a machine in {guest}")
    if network.domain and not re.fullmatch(rf"{LABEL}(\.{LABEL})*", network.domain):
        raise Invalid(f"network domain {network.domain!r} is no domain name")
    if len(network.domain) > 190:
        raise Invalid("a network domain may have 190 characters; this one is longer")
    for server in network.dns:
        _parsed(server, "the DNS server")
    if network.public_address:
        public = _range(network.public_cidr, "the public range")
        own = _inside(network.public_address, public, "the public address")
        if own == _inside(network.public_gateway, public, "the public gateway"):
            raise Invalid(f"{own} is the public gateway; it cannot be a network's address too")
        if public.overlaps(guest):
            raise Invalid(f"the guest network {guest} overlaps the public range {public}")


def check_nic(nic: GuestNic, network: GuestNetwork) -> None:
    """The card's address is in its network, and its names are names."""
    check_card(nic)
    guest = IPv4Network(network.cidr)
    address = _inside(nic.address, guest, "the machine's address")
    if address in {guest.network_address, guest.broadcast_address, IPv4Address(network.gateway)}:
        raise Invalid(f"{address} is not free for a machine in {guest}")


def check_card(nic: GuestNic) -> None:
    """What can be said of a card without its network."""
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", nic.nic):
        raise Invalid(f"{nic.nic!r} is no id of a card")
    if not re.fullmatch(r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}", nic.mac):
        raise Invalid(f"{nic.mac!r} is no MAC address of a machine")
    if not re.fullmatch(LABEL, nic.hostname) or nic.hostname.lower() == TAKEN:
        raise Invalid(
            f"{nic.hostname!r} cannot be a host name: 1 to 63 letters, digits and hyphens, "
            f"no hyphen at either end, and not {TAKEN}"
        )
    for name in nic.metadata:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise Invalid(f"{name!r} cannot be the name of a metadata file")
    if len(nic.user_data) > USER_DATA_MAX:
        raise Invalid(f"user data may have {USER_DATA_MAX} bytes; these are {len(nic.user_data)}")


def _range(cidr: str, what: str) -> IPv4Network:
    try:
        found = IPv4Network(cidr)
    except ValueError as error:
        raise Invalid(f"{what} {cidr!r} is no IPv4 range: {error}") from error
    if not 8 <= found.prefixlen <= 30:
        raise Invalid(f"{what} {cidr} must have a prefix length of 8 to 30")
    return found


def _inside(address: str, whole: IPv4Network, what: str) -> IPv4Address:
    try:
        found = IPv4Address(address)
    except AddressValueError as error:
        raise Invalid(f"{what} {address!r} is no IPv4 address") from error
    if found not in whole:
        raise Invalid(f"{what} {address} is not in {whole}")
    return found


def _parsed(address: str, what: str) -> None:
    try:
        ip_address(address)
    except ValueError as error:
        raise Invalid(f"{what} {address!r} is no IP address") from error
    if "%" in address:  # an IPv6 scope id may hold anything
        raise Invalid(f"{what} {address!r} must not have a scope")
