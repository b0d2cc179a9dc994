"""A volume: a disk, and the machine it belongs to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key, Leaves, Ref
from csnode.model.owner import ByAccount, Ownership
from csnode.types import (
    AccountId,
    DiskOfferingId,
    DomainId,
    OfferingId,
    PoolId,
    TemplateId,
    VmId,
    ZoneId,
)


class VolumeType(StrEnum):
    """What a disk is to its machine; the words are CloudStack's."""

    ROOT = "ROOT"
    DATA = "DATADISK"


class VolumeState(StrEnum):
    """What a volume is shown to be; the words are CloudStack's."""

    ALLOCATED = "Allocated"
    CREATING = "Creating"
    READY = "Ready"
    EXPUNGING = "Expunging"


class Volume(Entity):
    """One disk; id: VolumeId."""

    kind: ClassVar[str] = "volume"
    owned_by: ClassVar[Ownership] = ByAccount()

    name: str
    account: Annotated[AccountId, Key(), Ref(to="account")]
    domain: Annotated[DomainId, Ref(to="domain", pins=False)]  # its account pins it
    zone: Annotated[ZoneId, Ref(to="zone")]
    type: VolumeType = VolumeType.ROOT
    vm: Annotated[VmId | None, Key(), Ref(to="vm", part=True)] = None
    device: int = 0
    size: int = 0  # bytes
    template: Annotated[TemplateId | None, Key(), Ref(to="template")] = None
    offering: Annotated[OfferingId | None, Ref(to="offering")] = None
    disk_offering: Annotated[DiskOfferingId | None, Ref(to="disk_offering")] = None
    gone: Annotated[bool, Leaves()] = False
    created: float = 0.0
    attached: float = 0.0

    pool: Annotated[PoolId | None, Key(), Ref(to="pool"), Fact(by="orchestrator")] = None
    ready: Annotated[bool, Fact(by="orchestrator")] = False
    fence: Annotated[int, Fact(by="orchestrator")] = 0
    """Of the order that had its bytes made last, or a copy of them: none from before drops any."""
