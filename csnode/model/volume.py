"""A volume: a disk, and the machine it belongs to."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key
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


class Volume(Entity):
    """One disk; id: VolumeId."""

    kind: ClassVar[str] = "volume"

    name: str
    account: Annotated[AccountId, Key()]
    domain: DomainId
    zone: ZoneId
    type: str = "ROOT"  # or DATADISK
    vm: Annotated[VmId | None, Key()] = None
    device: int = 0
    size: int = 0  # bytes
    template: TemplateId | None = None
    offering: OfferingId | None = None
    disk_offering: DiskOfferingId | None = None
    gone: bool = False
    created: float = 0.0
    attached: float = 0.0

    pool: Annotated[PoolId | None, Key(), Fact(by="orchestrator")] = None
    ready: Annotated[bool, Fact(by="orchestrator")] = False
