"""A template: a disk image that machines are cloned from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key, Leaves, Ref
from csnode.model.owner import ByAccount, Ownership
from csnode.types import AccountId, DomainId, OsTypeId, ZoneId


class ImageFormat(StrEnum):
    """What registerTemplate takes; the words are CloudStack's."""

    QCOW2 = "QCOW2"
    RAW = "RAW"


class Template(Entity):
    """One image; id: TemplateId.

    `ready`, sizes and `status` are what storage saw when it fetched the image; every pool that
    needs it fetches it again by itself, so these are facts about the image, not about a pool.
    """

    kind: ClassVar[str] = "template"
    owned_by: ClassVar[Ownership] = ByAccount(open_if=("public", "featured"))

    name: str
    display_text: str = ""
    account: Annotated[AccountId, Key(), Ref(to="account")]
    domain: Annotated[DomainId, Ref(to="domain", pins=False)]  # its account pins it
    zone: Annotated[ZoneId | None, Ref(to="zone")] = None  # None: all zones
    url: str = ""
    format: str = ImageFormat.QCOW2  # others of CloudStack's are refused when it is registered
    checksum: str = ""  # "{SHA-256}hex" or bare hex, whose length says which
    hypervisor: str = "KVM"
    os_type: Annotated[OsTypeId | None, Ref(to="os_type")] = None
    public: bool = False
    featured: bool = False
    extractable: bool = False
    password_enabled: bool = False
    sshkey_enabled: bool = False
    requires_hvm: bool = True
    dynamically_scalable: bool = False
    details: dict[str, str] = {}
    tag: str = ""
    gone: Annotated[bool, Leaves()] = False  # deleteTemplate asked for
    created: float = 0.0

    ready: Annotated[bool, Fact(by="orchestrator")] = False
    size: Annotated[int, Fact(by="orchestrator")] = 0  # bytes a machine sees
    physical_size: Annotated[int, Fact(by="orchestrator")] = 0  # bytes on disk
    percent: Annotated[int, Fact(by="storage")] = 0  # of the download
    waits: Annotated[str, Fact(by="storage")] = ""  # whom the download waits for
    trouble: Annotated[str, Fact(by="orchestrator")] = ""
