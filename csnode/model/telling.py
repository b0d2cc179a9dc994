"""What components are told, from the rows: pure functions, a value each.

The orchestrator tells it, and whoever compares the outside with the rows reckons it anew.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from csnode.model.machine import Disk, Domain, GuestNetwork, GuestNic, Image, Plug
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.place import Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.types import NetworkId, NicId, TemplateId, VmId


def guest_network(network: Network, zone: Zone) -> GuestNetwork:
    """Return all there is to say about a network and its router."""
    return GuestNetwork(
        network=NetworkId(network.id),
        name=network.name,
        vni=network.vni,
        cidr=network.cidr,
        gateway=network.gateway,
        domain=network.network_domain or "cs.internal",
        dns=tuple(dns for dns in (zone.dns1, zone.dns2) if dns),
        public_address=network.public_address,
        public_cidr=zone.public_cidr,
        public_gateway=zone.public_gateway,
    )


def guest_nic(vm: Vm, nic: Nic, network: Network, offering: Offering, zone: Zone) -> GuestNic:
    """Return the card's place, and what its metadata says (the names are CloudStack's)."""
    return GuestNic(
        nic=NicId(nic.id),
        network=nic.network,
        vm=nic.vm,
        mac=nic.mac,
        address=nic.address,
        hostname=vm.name,
        metadata={
            "instance-id": vm.id,
            "vm-id": vm.id,
            "local-hostname": vm.name,
            "local-ipv4": nic.address,
            "public-ipv4": network.public_address,
            "public-hostname": network.public_address,
            "public-keys": vm.public_key,
            "service-offering": offering.name,
            "availability-zone": zone.name,
        },
        user_data=user_data(vm.user_data),
    )


def user_data(text: str) -> bytes:
    """Decode Base64, which some callers send without padding; what is none goes as it is."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return text.encode()


def image_of(template: Template) -> Image:
    """Return what storage is told of a template."""
    return Image(
        template=TemplateId(template.id),
        url=template.url,
        format=template.format,
        checksum=template.checksum,
        account=template.account,
    )


def domain_of(vm: Vm, disks: Sequence[Disk], plugs: Sequence[Plug]) -> Domain:
    """Return what a host is told to run."""
    return Domain(
        vm=VmId(vm.id),
        name=vm.instance_name,
        title=vm.display_name or vm.name,
        cpus=vm.cpus,
        cpu_mhz=vm.cpu_mhz,
        memory_mib=vm.memory_mib,
        disks=tuple(disks),
        plugs=tuple(plugs),
        limit_cpu=vm.limit_cpu,
    )
