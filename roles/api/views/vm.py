"""A virtual machine, as its owner sees it."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Any, ClassVar

from csnode.api.about import About, Date, Long, Rank, Word
from csnode.api.call import job_at_work
from csnode.api.view import Part, Shown, date, names
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.host import Host
from csnode.model.identity import User
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.offering import ISOLATED, DiskOffering, Offering, OsType
from csnode.model.orders import Action
from csnode.model.place import Zone
from csnode.model.template import Template
from csnode.model.vm import LEAVING, Vm, VmState, Want, is_kept, state_of
from csnode.model.volume import Volume, VolumeType

ADMIN = Rank.ROOT_ADMIN


class NicView(Part):
    """A card of the machine."""

    id: Annotated[str, About("the id of the nic")]
    network_id: Annotated[str, About("the network it is plugged into")]
    network_name: Annotated[str | None, About("the name of that network")] = None
    netmask: Annotated[str | None, About("the netmask of the nic")] = None
    gateway: Annotated[str | None, About("the gateway of the nic")] = None
    ip_address: Annotated[str | None, About("the IPv4 address of the nic")] = None
    traffic_type: Annotated[str, About("Guest")]
    type: Annotated[str, About("the type of the network")]
    is_default: Annotated[bool, About("whether the default route leads through it")]
    mac_address: Annotated[str, About("the MAC address of the nic")]
    device_id: Annotated[str, About("its place among the nics")]
    virtual_machine_id: Annotated[str, About("the machine it belongs to")]


class VmView(Shown):
    """A machine."""

    key: ClassVar[str] = "virtualmachine"
    of: ClassVar[type[Entity]] = Vm

    id: Annotated[str, About("the id of the machine")]
    name: Annotated[str, About("its host name")]
    display_name: Annotated[str, About("the name shown; the host name if none was given")]
    account: Annotated[str | None, About("the account it belongs to")] = None
    domain: Annotated[str | None, About("the name of its domain")] = None
    domain_id: Annotated[str | None, About("the id of its domain")] = None
    domain_path: Annotated[str | None, About("the path of its domain")] = None
    user_id: Annotated[str | None, About("who deployed it")] = None
    username: Annotated[str | None, About("the name of who deployed it")] = None
    created: Annotated[Date | None, About("when it was deployed")] = None
    state: Annotated[
        str,
        About("Starting, Running, Stopping, Stopped, Migrating, Destroyed, Expunging or Error"),
    ]
    ha_enable: Annotated[bool, About("whether it is restarted elsewhere if its host fails")]
    group: Annotated[str | None, About("its group")] = None
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    host_id: Annotated[str | None, About("the host it is on", allows=ADMIN)] = None
    hostname: Annotated[str | None, About("the name of that host", allows=ADMIN)] = None
    host_control_state: Annotated[
        str | None, About("Enabled, Disabled or Offline", allows=ADMIN)
    ] = None
    template_id: Annotated[str, About("what it was made from")]
    template_name: Annotated[str | None, About("the name of that template")] = None
    template_display_text: Annotated[str | None, About("the template's text")] = None
    template_format: Annotated[str | None, About("the template's format")] = None
    template_type: Annotated[str | None, About("the template's type")] = None
    password_enabled: Annotated[bool, About("whether the template lets its password be set")]
    service_offering_id: Annotated[str, About("its size")]
    service_offering_name: Annotated[str | None, About("the name of that size")] = None
    disk_offering_id: Annotated[str | None, About("the offering of its data disk")] = None
    disk_offering_name: Annotated[str | None, About("the name of that offering")] = None
    cpu_number: Annotated[int, About("processors")]
    cpu_speed: Annotated[int, About("MHz of each")]
    memory: Annotated[int, About("MiB")]
    guest_os_id: Annotated[str | None, About("its operating system")] = None
    os_type_id: Annotated[str | None, About("its operating system")] = None
    os_display_name: Annotated[str | None, About("the name of its operating system")] = None
    root_device_id: Annotated[Long | None, About("the device of the root disk")] = None
    root_device_type: Annotated[str | None, About("ROOT")] = None
    hypervisor: Annotated[str, About("what runs it")]
    instance_name: Annotated[str | None, About("what the hypervisor calls it", allows=ADMIN)] = None
    display_vm: Annotated[bool | None, About("whether users are shown it", allows=ADMIN)] = None
    is_dynamically_scalable: Annotated[bool, About("whether it may be resized as it runs")]
    delete_protection: Annotated[bool, About("whether it may not be destroyed")]
    public_ip: Annotated[str | None, About("the address its traffic leaves from")] = None
    ip_address: Annotated[str | None, About("the address of its default nic")] = None
    key_pairs: Annotated[str | None, About("its ssh key pairs")] = None
    user_data: Annotated[str | None, About("its user data; with userdata=true")] = None
    vm_type: Annotated[str, About("User")]
    details: Annotated[dict[str, str], About("free details")]
    nic: Annotated[tuple[NicView, ...], About("its nics"), Word("set")]
    security_group: Annotated[tuple[str, ...], About("none: networks isolate"), Word("set")]
    affinity_group: Annotated[tuple[str, ...], About("its affinity groups"), Word("set")]
    tags: Annotated[tuple[str, ...], About("its tags"), Word("set")]
    job_id: Annotated[str | None, About("the job under way on it")] = None
    job_status: Annotated[int | None, About("the state of that job")] = None

    @classmethod
    def made(cls, row: Vm, view: View) -> VmView:
        job = job_at_work(view, row.id)
        template, offering = view.maybe(Template, row.template), view.maybe(Offering, row.offering)
        host, zone = view.maybe(Host, row.host), view.maybe(Zone, row.zone)
        user, os_type = view.maybe(User, row.user), view.maybe(OsType, row.os_type)
        nics = nics_of(view, row.id)
        default = next((n for n in nics if n.is_default), None)
        network = view.maybe(Network, default.network_id if default else None)
        data_disk = _data_disk(view, row.id)
        disk = view.maybe(DiskOffering, data_disk.disk_offering if data_disk else None)
        return cls(
            id=row.id,
            name=row.name,
            display_name=row.display_name or row.name,
            **names(view, row.account, row.domain),
            user_id=row.user,
            username=user.name if user else None,
            created=date(row.created),
            state=state_of(row, action_on(job)),
            ha_enable=is_kept(row, offering),
            group=row.group or None,
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            **_place(host),
            template_id=row.template,
            **_image(template),
            service_offering_id=row.offering,
            service_offering_name=offering.name if offering else None,
            disk_offering_id=disk.id if disk else None,
            disk_offering_name=disk.name if disk else None,
            cpu_number=row.cpus,
            cpu_speed=row.cpu_mhz,
            memory=row.memory_mib,
            guest_os_id=row.os_type,
            os_type_id=row.os_type,
            os_display_name=os_type.name if os_type else None,
            root_device_id=0,
            root_device_type=VolumeType.ROOT,
            hypervisor=host.hypervisor if host else template.hypervisor if template else "KVM",
            instance_name=row.instance_name,
            display_vm=True,
            delete_protection=row.delete_protection,
            public_ip=(network.public_address or None) if network else None,
            ip_address=default.ip_address if default else None,
            key_pairs=row.keypair or None,
            vm_type="User",
            details={},
            nic=nics,
            security_group=(),
            affinity_group=(),
            tags=(),
            job_id=job.id if job else None,
            job_status=0 if job else None,
        )

    @classmethod
    def hidden(cls, row: Vm, view: View) -> bool:
        if row.want not in (Want.DESTROYED, Want.GONE):
            return False
        return state_in(view, row) in LEAVING


def _place(host: Host | None) -> dict[str, Any]:
    """Return where a machine is, as root admins are shown it."""
    if host is None:
        return {}
    return {
        "host_id": host.id,
        "hostname": host.name,
        "host_control_state": "Enabled" if host.enabled else "Disabled",
    }


def _image(template: Template | None) -> dict[str, Any]:
    """Return what a machine shows of its template; the row may be gone before the machine."""
    if template is None:
        return {"password_enabled": False, "is_dynamically_scalable": False}
    return {
        "template_name": template.name,
        "template_display_text": template.display_text,
        "template_format": template.format,
        "template_type": "USER",
        "password_enabled": template.password_enabled,
        "is_dynamically_scalable": template.dynamically_scalable,
    }


def action_on(job: Job | None) -> str:
    """Return what the order at work does to a machine, an Action; "" if nothing."""
    if job is None or (job.action == Action.DEPLOY and not job.order.get("start", True)):
        return ""
    return job.action


def state_in(view: View, vm: Vm) -> VmState:
    """Return the machine's state as CloudStack would show it."""
    return state_of(vm, action_on(job_at_work(view, vm.id)))


def nics_of(view: View, vm: str) -> tuple[NicView, ...]:
    """Return the cards of a machine, in order."""
    found = sorted(view.by(Nic, "vm", vm), key=lambda nic: nic.index)
    return tuple(_nic(nic, view.maybe(Network, nic.network)) for nic in found)


def _nic(nic: Nic, network: Network | None) -> NicView:
    return NicView(
        id=nic.id,
        network_id=nic.network,
        network_name=network.name if network else None,
        netmask=netmask(network.cidr) if network else None,
        gateway=network.gateway if network else None,
        ip_address=nic.address or None,
        traffic_type="Guest",
        type=ISOLATED,
        is_default=nic.default,
        mac_address=nic.mac,
        device_id=str(nic.index),
        virtual_machine_id=nic.vm,
    )


def netmask(cidr: str) -> str:
    """Return the netmask of a network: 255.255.255.0 for 10.1.1.0/24."""
    return str(IPv4Network(cidr, strict=False).netmask)


def _data_disk(view: View, vm: str) -> Volume | None:
    found = [v for v in view.by(Volume, "vm", vm) if v.type is VolumeType.DATA and not v.gone]
    return min(found, key=lambda v: v.device, default=None)
