"""What an id refers to: a parameter that names rows is looked up, as its caller sees them, before
`run`. A command with an id whose type says neither what it names nor that it is free is refused
when it is declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from csnode import types
from csnode.api.about import Field, Free, fields_of
from csnode.api.call import Call
from csnode.api.parse import NO_ID, no_such
from csnode.faults import Broken
from csnode.model.entity import Entity
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account, Domain, User
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume

REFERS: dict[Any, type[Entity] | Free] = {
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
    types.JobId: Job,
}
"""By type of id: the kind of row it names, or that it names none. A module that makes a new type
of id adds it here before it declares its first command.
"""


class Reference(msgspec.Struct, frozen=True):
    """A parameter that names rows of a kind."""

    attribute: str
    name: str
    kind: type[Entity]
    many: bool = False
    key: str = ""  # of the map's entries that hold the ids
    unscoped: bool = False  # the command itself looks who asks

    @property
    def asked_as(self) -> str:
        """What a request calls the first of its ids."""
        return f"{self.name}[0].{self.key}" if self.key else self.name


def kind_of(type: Any) -> type[Entity] | None:
    """Return the kind of row that ids of the type name; None if they name none."""
    kind = REFERS.get(type)
    return None if isinstance(kind, Free) else kind


def named_kind(field: Field) -> type[Entity] | None:
    """Return the kind of row that a parameter names by id; None if it names none."""
    return None if field.free else kind_of(field.item if field.item is not None else field.kind)


@cache
def references(request: type[msgspec.Struct]) -> tuple[Reference, ...]:
    """Return the parameters of a request that name rows."""
    return tuple(found for field in fields_of(request) for found in _references(field))


def _references(field: Field) -> Iterator[Reference]:
    unscoped = bool(field.unscoped)
    for key, type in field.entries:
        if (kind := kind_of(type)) is not None:
            yield Reference(field.attribute, field.name, kind, key=key, unscoped=unscoped)
    if (kind := named_kind(field)) is not None:
        many = field.item is not None
        yield Reference(field.attribute, field.name, kind, many=many, unscoped=unscoped)


def check_declared(command: str, request: type[msgspec.Struct]) -> None:
    """Raise Broken if an id of the request says neither what it names nor that it is free."""
    for field in fields_of(request):
        type = field.item if field.item is not None else field.kind
        where = f"{command}, parameter {field.name}"
        for key, inner in field.entries:
            if inner not in REFERS:
                raise Broken(f"{where}: {key} holds {inner}, which csnode.api.refers.REFERS lacks")
        if field.free:
            continue
        if hasattr(type, "__supertype__") and type not in REFERS:
            raise Broken(
                f"{where}: nothing says which rows a {type.__name__} names: set "
                f"csnode.api.refers.REFERS[{type.__name__}] to their kind, or to Free(why)"
            )
        if field.word == "map" and not field.entries:
            raise Broken(f"{where}: mark the map Entries(...) for the ids in it, or Free(why)")
        if type is str and field.name.lower().endswith(("id", "ids")):
            raise Broken(f"{where}: give the id a type of its own (csnode.types), or mark it Free")


def check_references(call: Call, request: msgspec.Struct) -> None:
    """Raise "entity does not exist" (431) for what is not there or not for this caller.

    NO_ID is let through: it means "any" or "none" to the few commands that take it.
    """
    for reference in references(type(request)):
        value = getattr(request, reference.attribute)
        if value is not None:
            for name, id in _ids(reference, value):
                if id != NO_ID:
                    _check(call, reference, name, id)


def _ids(reference: Reference, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each id in the value of a parameter, and how the caller calls its place."""
    if reference.key:
        for at, entry in enumerate(value):
            if reference.key in entry:
                yield f"{reference.name}[{at}].{reference.key}", entry[reference.key]
    else:
        for id in value if reference.many else (value,):
            yield reference.name, id


def _check(call: Call, reference: Reference, name: str, id: str) -> None:
    if not reference.unscoped:
        call.seen(reference.kind, id, name)
    elif call.view.maybe(reference.kind, id) is None:
        raise no_such(call.asked.command, name, id)
