"""What an id refers to: a uuid parameter whose type is known here is looked up before `run`."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from csnode import types
from csnode.api.about import fields_of
from csnode.api.call import Call
from csnode.model.entity import Entity
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account, Domain, User
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume

REFERS: dict[Any, type[Entity]] = {
    types.ZoneId: Zone,
    types.PodId: Pod,
    types.ClusterId: Cluster,
    types.HostId: Host,
    types.PoolId: StoragePool,
    types.DomainId: Domain,
    types.AccountId: Account,
    types.UserId: User,
    types.VmId: Vm,
    types.NicId: Nic,
    types.VolumeId: Volume,
    types.TemplateId: Template,
    types.NetworkId: Network,
    types.OfferingId: Offering,
    types.DiskOfferingId: DiskOffering,
    types.NetworkOfferingId: NetworkOffering,
    types.OsTypeId: OsType,
}


class Reference(msgspec.Struct, frozen=True):
    """A parameter that names rows of a kind."""

    attribute: str
    name: str
    kind: type[Entity]
    many: bool


@cache
def references(request: type[msgspec.Struct]) -> tuple[Reference, ...]:
    """The parameters of a request that name rows."""
    found: list[Reference] = []
    for field in fields_of(request):
        many = field.item is not None
        kind = REFERS.get(field.item if many else field.kind)
        if kind is not None:
            found.append(Reference(field.attribute, field.name, kind, many))
    return tuple(found)


def check_references(call: Call, request: msgspec.Struct) -> None:
    """Raises "entity does not exist" (431) for what is not there or not for this caller.

    -1 is let through: it means "any" or "none" to the few commands that take it.
    """
    for reference in references(type(request)):
        value = getattr(request, reference.attribute)
        if value is not None:
            for id in value if reference.many else (value,):
                if id != "-1":
                    call.seen(reference.kind, id, reference.name)
