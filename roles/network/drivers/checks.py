"""What a network driver accepts: everything here ends up in commands, rules or files.

Names and data come from users, so each field is held against the form it must have; nothing is
escaped, since no form allows what would need it. What users choose is judged by csnode.model.rules,
as the api judges it. Raises Invalid.
"""

from __future__ import annotations

import re

from csnode.faults import Invalid
from csnode.model import rules
from csnode.model.machine import GuestNetwork, GuestNic


def check_network(network: GuestNetwork) -> None:
    """Check that the network's addresses fit each other, and that its domain is one."""
    guest = rules.guest_network(network.cidr, network.gateway)
    if network.domain:
        rules.network_domain(network.domain)
    for server in network.dns:
        rules.dns_server(server)
    if network.public_address:
        public = rules.public_range(network.public_cidr, network.public_gateway)
        rules.public_address(network.public_address, public, network.public_gateway)
        rules.check_apart(guest, public)


def check_nic(nic: GuestNic, network: GuestNetwork) -> None:
    """Check that the card's address is in its network, and that its names are names."""
    check_card(nic)
    guest = rules.guest_network(network.cidr, network.gateway)
    rules.guest_address(nic.address, guest, network.gateway)
    rules.full_name(nic.hostname, network.domain)


def check_card(nic: GuestNic) -> None:
    """Check what can be said of a card without its network."""
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", nic.nic):
        raise Invalid(f"{nic.nic!r} is no id of a card")
    rules.check_mac(nic.mac)
    rules.host_name(nic.hostname)
    for name in nic.metadata:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise Invalid(f"{name!r} cannot be the name of a metadata file")
    if len(nic.user_data) > rules.USER_DATA_BYTES_MAX:
        most = rules.USER_DATA_BYTES_MAX
        raise Invalid(f"user data may have {most} bytes; these are {len(nic.user_data)}")
