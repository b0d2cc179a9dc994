"""A template, as those who may use it see it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from csnode.api.about import About, Date, Long, Word
from csnode.api.call import job_at_work
from csnode.api.view import Shown, date, names
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.offering import OsType
from csnode.model.place import Zone
from csnode.model.template import Template


class TemplateView(Shown):
    """A template."""

    key: ClassVar[str] = "template"
    of: ClassVar[type[Entity]] = Template

    id: Annotated[str, About("the id of the template")]
    name: Annotated[str, About("its name")]
    display_text: Annotated[str, About("its text")]
    account: Annotated[str | None, About("the account it belongs to")] = None
    account_id: Annotated[str | None, About("the id of that account")] = None
    domain: Annotated[str | None, About("the name of its domain")] = None
    domain_id: Annotated[str | None, About("the id of its domain")] = None
    domain_path: Annotated[str | None, About("the path of its domain")] = None
    zone_id: Annotated[str | None, About("the zone it is in")] = None
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    cross_zones: Annotated[bool, About("whether it is in all zones")] = msgspec.field(
        name="crossZones"
    )
    created: Annotated[Date | None, About("when it was registered")] = None
    format: Annotated[str, About("QCOW2 or RAW"), Word("imageformat")]
    hypervisor: Annotated[str, About("what runs it")]
    url: Annotated[str, About("where it was fetched from")]
    checksum: Annotated[str | None, About("the checksum it must have")] = None
    size: Annotated[Long | None, About("bytes, as a machine sees it")] = None
    physical_size: Annotated[Long | None, About("bytes on disk")] = None
    status: Annotated[str, About("how far its download is, or why it failed")]
    is_ready: Annotated[bool, About("whether machines can be made from it")]
    is_public: Annotated[bool, About("whether all may use it")]
    is_featured: Annotated[bool, About("whether it is recommended to all")]
    is_extractable: Annotated[bool, About("whether it may be downloaded")]
    is_dynamically_scalable: Annotated[bool, About("whether machines may be resized as they run")]
    password_enabled: Annotated[bool, About("whether it lets its password be set")]
    sshkey_enabled: Annotated[bool, About("whether it takes ssh keys")]
    requires_hvm: Annotated[bool, About("whether it needs full virtualisation")]
    bits: Annotated[int, About("64"), Word("int")]
    bootable: Annotated[bool, About("whether it boots")]
    os_type_id: Annotated[str | None, About("its operating system")] = None
    os_type_name: Annotated[str | None, About("the name of its operating system")] = None
    template_type: Annotated[str, About("USER")]
    template_tag: Annotated[str | None, About("its tag")] = None
    for_cks: Annotated[bool, About("whether it is for Kubernetes nodes")]
    direct_download: Annotated[bool, About("whether hosts fetch it themselves")]
    details: Annotated[dict[str, str], About("free details")]
    tags: Annotated[tuple[str, ...], About("its tags"), Word("set")]
    job_id: Annotated[str | None, About("the job under way on it")] = None
    job_status: Annotated[int | None, About("the state of that job")] = None

    @classmethod
    def made(cls, row: Template, view: View) -> TemplateView:
        job = job_at_work(view, row.id)
        zone, os_type = _zone(row, view), view.maybe(OsType, row.os_type)
        return cls(
            id=row.id,
            name=row.name,
            display_text=row.display_text or row.name,
            **names(view, row.account, row.domain),
            account_id=row.account,
            zone_id=zone.id if zone else None,
            zone_name=zone.name if zone else None,
            cross_zones=row.zone is None,
            created=date(row.created),
            format=row.format,
            hypervisor=row.hypervisor,
            url=row.url,
            checksum=row.checksum or None,
            size=row.size or None,
            physical_size=row.physical_size or None,
            status=status(row),
            is_ready=row.ready,
            is_public=row.public,
            is_featured=row.featured,
            is_extractable=row.extractable,
            is_dynamically_scalable=row.dynamically_scalable,
            password_enabled=row.password_enabled,
            sshkey_enabled=row.sshkey_enabled,
            requires_hvm=row.requires_hvm,
            bits=64,
            bootable=True,
            os_type_id=row.os_type,
            os_type_name=os_type.name if os_type else None,
            template_type="USER",
            template_tag=row.tag or None,
            for_cks=False,
            direct_download=False,
            details=row.details,
            tags=(),
            job_id=job.id if job else None,
            job_status=0 if job else None,
        )


def status(row: Template) -> str:
    """Return what CloudStack says of a template on its way in."""
    if row.ready:
        return "Download Complete"
    if row.trouble:
        return row.trouble
    return f"{row.percent}% Downloaded" if row.percent else row.waits or "Processing"


def _zone(row: Template, view: View) -> Zone | None:
    """Return its zone; of a template in all zones the only one, if there is but one."""
    if row.zone is not None:
        return view.maybe(Zone, row.zone)
    zones = view.all(Zone)
    return zones[0] if len(zones) == 1 else None
