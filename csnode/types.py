"""The types everything is made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NewType, dataclass_transform

import msgspec

MIB, GIB = 1 << 20, 1 << 30  # bytes


class _Frozen(msgspec.StructMeta):
    """Makes every subclass frozen and keyword-only too; msgspec does not pass kw_only down."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], body: dict[str, Any], **options: Any
    ) -> _Frozen:
        options = {"frozen": True, "kw_only": True} | options
        return super().__new__(mcls, name, bases, body, **options)


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, metaclass=_Frozen):
    """A value: made once, never changed."""


class Message(Struct, array_like=True):
    """A value that travels between roles.

    It goes as an array, so fields may only be appended, each with a default: then an older
    reader skips what it does not know, and a newer one fills in what it was not told.
    """


NodeId = NewType("NodeId", str)
HostId = NewType("HostId", str)
PoolId = NewType("PoolId", str)
ZoneId = NewType("ZoneId", str)
PodId = NewType("PodId", str)
ClusterId = NewType("ClusterId", str)
DomainId = NewType("DomainId", str)
AccountId = NewType("AccountId", str)
UserId = NewType("UserId", str)
VmId = NewType("VmId", str)
NicId = NewType("NicId", str)
VolumeId = NewType("VolumeId", str)
TemplateId = NewType("TemplateId", str)
NetworkId = NewType("NetworkId", str)
OfferingId = NewType("OfferingId", str)
DiskOfferingId = NewType("DiskOfferingId", str)
NetworkOfferingId = NewType("NetworkOfferingId", str)
OsTypeId = NewType("OsTypeId", str)
JobId = NewType("JobId", str)


class Power(StrEnum):
    """What a hypervisor last saw of a machine."""

    ON = "on"
    OFF = "off"
    ABSENT = "absent"
