"""listPublicIpAddresses, and the lists of rules that clients ask for along with machines."""

from __future__ import annotations

from typing import Annotated, ClassVar, NewType

from csnode.api.about import About, By
from csnode.api.call import Call
from csnode.api.command import Answers, command
from csnode.api.lists import ProjectList, Test
from csnode.api.refers import REFERS
from csnode.api.view import Shown
from csnode.model.network import Network
from csnode.types import NetworkId, VmId, ZoneId
from roles.api.views.address import IpForwardingView, PortForwardingView, PublicAddressView

AddressId = NewType("AddressId", str)
REFERS[AddressId] = Network  # an address has the id of its network
RuleId = NewType("RuleId", str)


@command(
    "listPublicIpAddresses",
    answers=Answers.LIST,
    shows=PublicAddressView,
    java="org.apache.cloudstack.api.command.user.address.ListPublicIpAddressesCmd",
)
class ListPublicIpAddresses(ProjectList):
    """Lists public addresses that are taken."""

    shown: ClassVar[type[Shown]] = PublicAddressView

    id: Annotated[NetworkId | None, About("the id of the address")] = None
    ip_address: Annotated[str | None, About("this address"), By("public_address")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone"), By("zone")] = None
    associated_network_id: Annotated[NetworkId | None, About("of this network"), By("id")] = None
    is_source_nat: Annotated[bool | None, About("that machines are seen under, or not")] = None
    is_static_nat: Annotated[bool | None, About("that stand for one machine: none")] = None
    allocated_only: Annotated[bool | None, About("only taken ones, as always")] = None

    def tests(self, call: Call) -> list[Test]:
        del call
        tests: list[Test] = [lambda row: bool(row.public_address)]
        if self.is_static_nat or self.is_source_nat is False:
            tests.append(lambda _: False)
        return tests


class RuleList(ProjectList):
    """csnode forwards nothing from public addresses yet, so there are no rules to list."""

    def tests(self, call: Call) -> list[Test]:
        del call
        return [lambda _: False]


@command(
    "listPortForwardingRules",
    answers=Answers.LIST,
    shows=PortForwardingView,
    java="org.apache.cloudstack.api.command.user.firewall.ListPortForwardingRulesCmd",
)
class ListPortForwardingRules(RuleList):
    """Lists ports that are forwarded: none, for there is no command to forward one yet."""

    shown: ClassVar[type[Shown]] = PortForwardingView

    ip_address_id: Annotated[AddressId | None, About("from this address")] = None
    network_id: Annotated[NetworkId | None, About("into this network")] = None


@command(
    "listIpForwardingRules",
    answers=Answers.LIST,
    shows=IpForwardingView,
    java="org.apache.cloudstack.api.command.user.nat.ListIpForwardingRulesCmd",
)
class ListIpForwardingRules(RuleList):
    """Lists addresses that are forwarded whole: none, for there is no command to do so yet."""

    shown: ClassVar[type[Shown]] = IpForwardingView

    ip_address_id: Annotated[AddressId | None, About("from this address")] = None
    virtual_machine_id: Annotated[VmId | None, About("to this machine")] = None
