"""Public addresses, and what is forwarded from them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Date
from csnode.api.view import Shown, date, names
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.network import Network
from csnode.model.place import Zone


class PublicAddressView(Shown):
    """The address that a network's machines are seen under: so far each network has just one."""

    key: ClassVar[str] = "publicipaddress"
    of: ClassVar[type[Entity]] = Network

    id: Annotated[str, About("the id of the address: its network's, which has no other")]
    ip_address: Annotated[str, About("the address")]
    allocated: Annotated[Date | None, About("when it was taken")] = None
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    account: Annotated[str | None, About("the account it belongs to")] = None
    domain: Annotated[str | None, About("the name of its domain")] = None
    domain_id: Annotated[str | None, About("the id of its domain")] = None
    domain_path: Annotated[str | None, About("the path of its domain")] = None
    associated_network_id: Annotated[str, About("the network that it leads to")]
    associated_network_name: Annotated[str, About("the name of that network")]
    is_source_nat: Annotated[bool, About("whether machines are seen under it")]
    is_static_nat: Annotated[bool, About("whether it stands for one machine")]
    is_system: Annotated[bool, About("whether the cloud uses it itself")]
    for_virtual_network: Annotated[bool, About("whether it is for guest networks")]
    state: Annotated[str, About("Allocated")]

    @classmethod
    def made(cls, row: Network, view: View) -> PublicAddressView:
        zone = view.maybe(Zone, row.zone)
        return cls(
            id=row.id,
            ip_address=row.public_address,
            allocated=date(row.created),
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            **names(view, row.account, row.domain),
            associated_network_id=row.id,
            associated_network_name=row.name,
            is_source_nat=True,
            is_static_nat=False,
            is_system=False,
            for_virtual_network=True,
            state="Allocated",
        )


class ForwardingView(Shown):
    """What is forwarded from a public address to a machine."""

    of: ClassVar[type[Entity]] = Network

    id: Annotated[str, About("the id of the rule")]
    ip_address: Annotated[str, About("the public address")]
    ip_address_id: Annotated[str, About("the id of the public address")]
    protocol: Annotated[str, About("tcp or udp")]
    public_port: Annotated[str, About("the first public port")]
    public_end_port: Annotated[str, About("the last public port")]
    private_port: Annotated[str, About("the first port of the machine")]
    private_end_port: Annotated[str, About("the last port of the machine")]
    virtual_machine_id: Annotated[str, About("the machine")]
    state: Annotated[str, About("Active")]


class PortForwardingView(ForwardingView):
    """Ports that are forwarded."""

    key: ClassVar[str] = "portforwardingrule"


class IpForwardingView(ForwardingView):
    """Addresses that are forwarded whole."""

    key: ClassVar[str] = "ipforwardingrule"
