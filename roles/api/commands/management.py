"""listManagementServers: the nodes that answer this API."""

from __future__ import annotations

from typing import Annotated, ClassVar, NewType

from csnode.api.about import About, Free, Long, Rank, Word
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.refers import REFERS
from csnode.api.shelf import Listing
from csnode.api.view import Shown, encoded
from csnode.directory.directory import Health, Member
from csnode.uuids import id_of

ManagementServerId = NewType("ManagementServerId", str)
REFERS[ManagementServerId] = Free("a node is no row: its id follows from its name")
STATES = {Health.OK: "Up", Health.DRAINING: "PreparingForShutDown", Health.SUSPECT: "Suspect"}


class ManagementServerView(Shown):
    """A node that plays the role api."""

    key: ClassVar[str] = "managementserver"

    id: Annotated[str, About("follows from the node's name")]
    name: Annotated[str, About("the node's name")]
    state: Annotated[str, About("Up, PreparingForShutDown or Suspect"), Word("state")]
    version: Annotated[str, About("of csnode")]
    ip_address: Annotated[str | None, About("where other nodes reach it")] = None
    service_ip: Annotated[str | None, About("the same")] = None
    agents_count: Annotated[Long, About("0: hosts belong to no management server here")] = 0


@command(
    "listManagementServers",
    answers=Answers.LIST,
    shows=ManagementServerView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.management.ListMgmtsCmd",
)
class ListManagementServers(ApiCommand):
    """Lists the nodes that answer this API, as the one that answers now hears of them."""

    id: Annotated[ManagementServerId | None, About("the id of the node")] = None
    name: Annotated[str | None, About("the name of the node")] = None
    version: Annotated[str | None, About("those of this version")] = None
    peers: Annotated[bool, About("how they see each other: each hears of all by itself")] = False

    async def run(self, call: Call) -> Listing:
        found = [_shown(node) for node in call.nodes if "api" in node.roles]
        found = [
            each
            for each in found
            if (not self.id or each.id == self.id)
            and (not self.name or each.name == self.name)
            and (not self.version or each.version == self.version)
        ]
        return Listing(count=len(found), rows=[encoded(each) for each in found])


def _shown(node: Member) -> ManagementServerView:
    address = node.address or None
    return ManagementServerView(
        id=id_of(node.cluster, "node", node.node),
        name=node.node,
        state=STATES[node.health],
        version=node.version,
        ip_address=address,
        service_ip=address,
    )
