"""A volume, as its owner sees it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Date, Long, Rank, Word
from csnode.api.call import job_at_work
from csnode.api.view import Shown, date, names
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.host import StoragePool
from csnode.model.offering import DiskOffering, Offering
from csnode.model.orders import Action
from csnode.model.place import Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume, VolumeState
from roles.api.views.vm import action_on
from roles.api.views.vm import state_in as machine_state

ADMIN = Rank.ROOT_ADMIN
MAKING = (Action.DEPLOY, Action.START)


class VolumeView(Shown):
    """A volume."""

    key: ClassVar[str] = "volume"
    of: ClassVar[type[Entity]] = Volume

    id: Annotated[str, About("the id of the volume")]
    name: Annotated[str, About("its name")]
    account: Annotated[str | None, About("the account it belongs to")] = None
    domain: Annotated[str | None, About("the name of its domain")] = None
    domain_id: Annotated[str | None, About("the id of its domain")] = None
    domain_path: Annotated[str | None, About("the path of its domain")] = None
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    created: Annotated[Date | None, About("when it was created")] = None
    attached: Annotated[Date | None, About("when it was attached")] = None
    type: Annotated[str, About("ROOT or DATADISK")]
    state: Annotated[str, About("Allocated, Creating, Ready or Expunging")]
    size: Annotated[Long, About("bytes")]
    device_id: Annotated[Long | None, About("its place among the machine's disks")] = None
    virtual_machine_id: Annotated[str | None, About("the machine it is attached to")] = None
    vm_name: Annotated[str | None, About("the machine's name")] = None
    vm_display_name: Annotated[str | None, About("the machine's name as shown")] = None
    vm_state: Annotated[str | None, About("the machine's state")] = None
    vm_type: Annotated[str | None, About("User")] = None
    template_id: Annotated[str | None, About("what it was made from")] = None
    template_name: Annotated[str | None, About("the template's name")] = None
    template_display_text: Annotated[str | None, About("the template's text")] = None
    service_offering_id: Annotated[str | None, About("a root disk's offering")] = None
    service_offering_name: Annotated[str | None, About("that offering's name")] = None
    service_offering_display_text: Annotated[str | None, About("that offering's text")] = None
    disk_offering_id: Annotated[str | None, About("a data disk's offering")] = None
    disk_offering_name: Annotated[str | None, About("that offering's name")] = None
    disk_offering_display_text: Annotated[str | None, About("that offering's text")] = None
    hypervisor: Annotated[str, About("what it is for")]
    storage_type: Annotated[str, About("local or shared")]
    provisioning_type: Annotated[str, About("thin")]
    storage: Annotated[str | None, About("the pool it lies on", allows=ADMIN)] = None
    storage_id: Annotated[str | None, About("the id of that pool", allows=ADMIN)] = None
    display_volume: Annotated[bool | None, About("whether users are shown it", allows=ADMIN)] = None
    is_extractable: Annotated[bool, About("whether it may be downloaded")]
    destroyed: Annotated[bool, About("whether it is on its way out")]
    quiesce_vm: Annotated[bool, About("whether snapshots quiesce the machine")]
    delete_protection: Annotated[bool, About("whether it may not be deleted")]
    tags: Annotated[tuple[str, ...], About("its tags"), Word("set")]
    job_id: Annotated[str | None, About("the job under way on it")] = None
    job_status: Annotated[int | None, About("the state of that job")] = None

    @classmethod
    def made(cls, row: Volume, view: View) -> VolumeView:
        job = job_at_work(view, row.id)
        vm, zone = view.maybe(Vm, row.vm), view.maybe(Zone, row.zone)
        template, pool = view.maybe(Template, row.template), view.maybe(StoragePool, row.pool)
        size, disk = view.maybe(Offering, row.offering), view.maybe(DiskOffering, row.disk_offering)
        return cls(
            id=row.id,
            name=row.name,
            **names(view, row.account, row.domain),
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            created=date(row.created),
            attached=date(row.attached),
            type=row.type,
            state=state_in(view, row),
            size=row.size,
            device_id=row.device if vm else None,
            virtual_machine_id=row.vm,
            vm_name=vm.name if vm else None,
            vm_display_name=(vm.display_name or vm.name) if vm else None,
            vm_state=machine_state(view, vm) if vm else None,
            vm_type="User" if vm else None,
            template_id=row.template,
            template_name=template.name if template else None,
            template_display_text=template.display_text if template else None,
            service_offering_id=row.offering,
            service_offering_name=size.name if size else None,
            service_offering_display_text=(size.display_text or size.name) if size else None,
            disk_offering_id=row.disk_offering,
            disk_offering_name=disk.name if disk else None,
            disk_offering_display_text=(disk.display_text or disk.name) if disk else None,
            hypervisor=template.hypervisor if template else "KVM",
            storage_type="local" if pool is not None and pool.host else "shared",
            provisioning_type="thin",
            storage=pool.name if pool else None,
            storage_id=row.pool,
            display_volume=True,
            is_extractable=True,
            destroyed=row.gone,
            quiesce_vm=False,
            delete_protection=False,
            tags=(),
            job_id=job.id if job else None,
            job_status=0 if job else None,
        )


def state_in(view: View, row: Volume) -> VolumeState:
    """Return the volume's state as CloudStack would show it."""
    if row.gone:
        return VolumeState.EXPUNGING
    if row.ready:
        return VolumeState.READY
    making = action_on(job_at_work(view, row.vm)) in MAKING if row.vm else False
    return VolumeState.CREATING if making else VolumeState.ALLOCATED
