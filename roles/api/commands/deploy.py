"""deployVirtualMachine: the machine, its disks and cards, and what they take."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Annotated

from csnode import uuids
from csnode.api.about import About, Entries, Free, Long, Map, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ProjectId
from csnode.api.parse import no_such
from csnode.api.reach import OF_OWNER, owner
from csnode.clock import wall
from csnode.faults import Denied, Invalid
from csnode.model import rules
from csnode.model.footprint import footprint, limits_of
from csnode.model.identity import Account
from csnode.model.ids import VM_NUMBERS, account_usage, guest_addresses, in_network
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, Offering
from csnode.model.orders import DeployVm
from csnode.model.place import Zone
from csnode.model.stock import Range, Tally, usage
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume, VolumeType
from csnode.types import (
    GIB,
    AccountId,
    ClusterId,
    DiskOfferingId,
    DomainId,
    HostId,
    NetworkId,
    OfferingId,
    PodId,
    TemplateId,
    VmId,
    ZoneId,
)
from csnode.uuids import new_id
from roles.api.commands.aim import AIMED, aim_of
from roles.api.commands.network import own_network, usable
from roles.api.commands.offering import default_isolated, offered
from roles.api.views.vm import VmView
from roles.api.wording import limit_reached


@command(
    "deployVirtualMachine",
    answers=Answers.CREATED,
    shows=VmView,
    event="VM.CREATE",
    java="org.apache.cloudstack.api.command.user.vm.DeployVMCmd",
)
class DeployVirtualMachine(ApiCommand):
    """Creates a machine, and starts it unless startvm is false."""

    zone_id: Annotated[ZoneId, About("where to put it")]
    service_offering_id: Annotated[OfferingId, About("its size")]
    template_id: Annotated[TemplateId | None, About("what to boot")] = None
    name: Annotated[str | None, About("its host name; one is made up if left out")] = None
    display_name: Annotated[str | None, About("the name shown")] = None
    network_ids: Annotated[
        tuple[NetworkId, ...], About("what to connect it to; the account's only network, or a new")
    ] = ()
    ip_to_network_list: Annotated[
        Map,
        About("networks with addresses: iptonetworklist[0].networkid=..&..ip=..&..mac=.."),
        Entries((("networkid", NetworkId),)),
    ] = ()
    ip_address: Annotated[str | None, About("its address in the first network")] = None
    mac_address: Annotated[str | None, About("its MAC address in the first network")] = None
    disk_offering_id: Annotated[DiskOfferingId | None, About("a data disk of this size")] = None
    size: Annotated[Long | None, About("GiB of a data disk whose size may be chosen")] = None
    root_disk_size: Annotated[Long | None, About("GiB of the root disk")] = None
    account: Annotated[str | None, About("whose it is to be; goes with domainid")] = None
    domain_id: Annotated[DomainId | None, About("the domain of that account"), OF_OWNER] = None
    project_id: Annotated[ProjectId | None, About("the project it is for: there are none")] = None
    user_data: Annotated[
        str | None, About("what it finds when it boots, in Base64", length=rules.USER_DATA_MAX)
    ] = None
    keypair: Annotated[str | None, About("the name of an ssh key pair")] = None
    keypairs: Annotated[tuple[str, ...], About("names of ssh key pairs")] = ()
    group: Annotated[str | None, About("its group")] = None
    hypervisor: Annotated[str | None, About("KVM")] = None
    start_vm: Annotated[bool, About("start it")] = True
    host_id: Annotated[HostId | None, About("the host to start it on; root admins only"), AIMED] = (
        None
    )
    cluster_id: Annotated[
        ClusterId | None, About("the cluster to start it in; root admins only", since="4.13"), AIMED
    ] = None
    pod_id: Annotated[
        PodId | None, About("the pod to start it in; root admins only", since="4.13"), AIMED
    ] = None
    custom_id: Annotated[
        str | None, About("its id, chosen", allows=Rank.ROOT_ADMIN), Free("of what is to be made")
    ] = None

    async def run(self, call: Call) -> Job:
        deployment = Deployment.checked(call, self)
        aim = aim_of(call, self, ZoneId(deployment.zone.id))
        vm = deployment.add()
        return call.order(DeployVm(vm=VmId(vm.id), start=self.start_vm, **aim))


class Deployment:
    """One deployment under way: what was asked, and what there is of it. Made by `checked`."""

    def __init__(
        self, call: Call, asked: DeployVirtualMachine, account: Account, zone: Zone,
        offering: Offering, template: Template, data_gib: int,
    ) -> None:  # fmt: skip
        self.call, self.asked = call, asked
        self.account, self.zone = account, zone
        self.offering, self.template, self.data_gib = offering, template, data_gib

    @classmethod
    def checked(cls, call: Call, asked: DeployVirtualMachine) -> Deployment:
        """Look up what the request names. Raises the Fault that refuses it."""
        view = call.view
        if asked.project_id:
            raise no_such(call.asked.command, "projectid", asked.project_id)
        account = owner(call.caller, view, asked.account or "", asked.domain_id)
        call.note(owner=account)
        zone = view.get(Zone, asked.zone_id)
        offering = offered(call, Offering, asked.service_offering_id, "serviceofferingid")
        if not zone.enabled and call.caller.rank is not Rank.ROOT_ADMIN:
            raise Denied(f"Cannot perform this operation, Zone is currently disabled: {zone.name}")
        template = _template(call, asked, zone)
        data_gib = _data_gib(call, asked)
        names = (*asked.keypairs, *((asked.keypair,) if asked.keypair else ()))
        if names:
            raise Invalid(f"A key pair with name '{names[0]}' was not found.")
        return cls(call, asked, account, zone, offering, template, data_gib)

    def add(self) -> Vm:
        """Add all rows to the change; the machine."""
        call, asked = self.call, self.asked
        networks = self._networks()
        id = call.new_id()
        name = f"VM-{id}"
        if asked.name:
            name = checked_name(call, asked.name, [n for n, _, _ in networks], id)
        size = self.offering
        vm = call.change.create(
            Vm(
                id=id,
                name=name,
                display_name=asked.display_name or "",
                account=AccountId(self.account.id),
                domain=self.account.domain,
                user=call.caller.user or None,
                zone=ZoneId(self.zone.id),
                offering=OfferingId(size.id),
                template=TemplateId(self.template.id),
                os_type=self.template.os_type,
                cpus=size.cpus,
                cpu_mhz=size.cpu_mhz,
                memory_mib=size.memory_mib,
                limit_cpu=size.limit_cpu,
                group=asked.group or "",
                user_data=rules.user_data(asked.user_data) if asked.user_data else "",
                want=Want.RUNNING if asked.start_vm else Want.STOPPED,
                created=wall(),
            )
        )
        call.change.take(VM_NUMBERS, vm.id, (vm, "number"))
        root = self._root_bytes()
        self._volume(vm, VolumeType.ROOT, 0, root)
        if self.data_gib:
            self._volume(vm, VolumeType.DATA, 1, self.data_gib * GIB)
        for index, (network, address, mac) in enumerate(networks):
            self._nic(vm, network, index, address, mac)
        self._count(root)
        return vm

    # -- disks -------------------------------------------------------------------------------

    def _root_bytes(self) -> int:
        wanted = self.asked.root_disk_size
        if wanted is None:
            return max(self.template.size, self.offering.root_gib * GIB)
        rules.within(wanted, "rootdisksize", 1, rules.DISK_GIB_MAX)
        if wanted * GIB < self.template.size:
            raise Invalid(
                f"unsupported: rootdisksize override is smaller than template size "
                f"{self.template.size} bytes"
            )
        return wanted * GIB

    def _volume(self, vm: Vm, kind: VolumeType, device: int, size: int) -> None:
        """Make a volume, named by the machine's id: its number is not known before the commit."""
        root = kind is VolumeType.ROOT
        self.call.change.create(
            Volume(
                id=new_id(),
                name=f"{'ROOT' if root else 'DATA'}-{vm.id[:8]}",
                account=vm.account,
                domain=vm.domain,
                zone=vm.zone,
                type=kind,
                vm=VmId(vm.id),
                device=device,
                size=size,
                template=vm.template if root else None,
                offering=vm.offering if root else None,
                disk_offering=None if root else self._disk_offering(),
                created=vm.created,
                attached=vm.created,
            )
        )

    def _disk_offering(self) -> DiskOfferingId | None:
        return self.asked.disk_offering_id

    # -- cards -------------------------------------------------------------------------------

    def _networks(self) -> list[tuple[Network, str, str]]:
        """Return each network with the address and MAC wished for; the first is the default."""
        asked, call = self.asked, self.call
        entries = [(NetworkId(e.get("networkid", "")), e.get("ip", ""), e.get("mac", ""))
                   for e in asked.ip_to_network_list]  # fmt: skip
        if entries and asked.network_ids:
            raise Invalid("networkids and iptonetworklist must not be given together")
        entries = entries or [(id, "", "") for id in asked.network_ids]
        if len({id for id, _, _ in entries}) < len(entries):
            raise Invalid("networkids: each network may be named once")
        rules.check_cards(len(entries), "networkids")
        if entries:
            found = [(usable(call, id, self.account, self.zone), ip, mac)
                     for id, ip, mac in entries]  # fmt: skip
        else:
            offering = default_isolated(call)
            found = [(own_network(call, self.account, self.zone, offering), "", "")]
        first, ip, mac = found[0]
        found[0] = (first, asked.ip_address or ip, asked.mac_address or mac)
        return found

    def _nic(self, vm: Vm, network: Network, index: int, address: str, mac: str) -> None:
        call = self.call
        wish = address_of(call, network, address) if address else None
        mac = rules.mac_address(mac) if mac else ""
        if mac and call.view.by(Nic, "carded", in_network(network.id, mac)):
            raise Invalid(f"Mac address {mac} is in use in network {network.name}")
        mac = mac or _new_mac()
        nic = call.change.create(
            Nic(
                id=new_id(),
                vm=VmId(vm.id),
                network=NetworkId(network.id),
                mac=mac,
                named=in_network(network.id, vm.name),
                carded=in_network(network.id, mac),
                index=index,
                default=index == 0,
            )
        )
        if wish is not None:
            call.change.update(Nic, nic.id, fixed=True)  # apart: an older data service may not know
        call.change.take(guest_addresses(network.id), nic.id, (nic, "address"), wish)

    def _count(self, root: int) -> None:
        """Count what the account uses with this machine, within its limits."""
        disks = (root, self.data_gib * GIB) if self.data_gib else (root,)
        count_within(self.call, self.account, footprint(self.offering, disks))


def _template(call: Call, asked: DeployVirtualMachine, zone: Zone) -> Template:
    if not asked.template_id:
        raise Invalid("templateid must be given: what the machine is to boot")
    template = call.seen(Template, asked.template_id, "templateid")
    if template.gone or not template.ready:
        raise Invalid(f"Template {template.name} is not ready to use")
    if template.zone not in (None, zone.id):
        raise Invalid(f"Template {template.name} is not available in zone {zone.name}")
    if asked.hypervisor and asked.hypervisor.lower() != template.hypervisor.lower():
        raise Invalid(
            f"Template {template.name} is for {template.hypervisor}, not {asked.hypervisor}"
        )
    return template


def _data_gib(call: Call, asked: DeployVirtualMachine) -> int:
    id, size = asked.disk_offering_id, asked.size
    if id is None:
        return 0
    offering = offered(call, DiskOffering, id, "diskofferingid")
    if not offering.custom:
        return offering.gib
    return rules.within(size, "size", 1, rules.DISK_GIB_MAX)


def count_within(call: Call, account: Account, by: dict[str, int]) -> None:
    """Add to what the account uses; Full (535), in CloudStack's words, beyond a limit."""
    owner = account_usage(account.id)
    used = usage(call.view.maybe(Tally, owner))
    limits = limits_of(account, by)
    for name, limit in limits.items():
        if used.get(name, 0) + by[name] > limit:
            raise limit_reached(account, name, limit, used.get(name, 0), by[name])
    call.change.count(owner, by, limits)


def checked_name(call: Call, name: str, networks: Iterable[Network], vm: str) -> str:
    """Return a host name that is one, and that no other machine of these networks has."""
    rules.host_name(name)
    for network in networks:
        rules.full_name(name, network.network_domain)
        held = call.view.by(Nic, "named", in_network(network.id, name))
        if any(nic.vm != vm for nic in held):
            raise Invalid(f"The vm with hostName {name} already exists in the network")
    return name


def address_of(call: Call, network: Network, text: str) -> int:
    """Return an address a card may have, as its range counts it. Raises Invalid if it may not."""
    address = rules.ipv4_address(text, "ipaddress")
    if address not in IPv4Network(network.cidr, strict=False):
        raise Invalid(f"ipaddress {text} is not in the network {network.name}: {network.cidr}")
    free = call.view.maybe(Range, guest_addresses(network.id))
    kept = free is not None and not free.low <= int(address) <= free.high
    if kept or text == network.gateway:
        raise Invalid(f"ipaddress {text} is none that machines in {network.name} may have")
    if any(nic.address == text for nic in call.view.by(Nic, "network", network.id)):
        raise Invalid(f"The requested IP address {text} is in use in the network {network.name}")
    return int(address)


def _new_mac() -> str:
    """Make a locally administered MAC address; 40 random bits."""
    return ":".join(["02", *(f"{byte:02x}" for byte in uuids.source.randbytes(5))])
