"""What a request's declaration does not say of its parameters: texts, numbers, and which rows a
command makes sense for. Keys are "command.parameter", or "parameter" for all commands.

A command that is in no table here is drawn all the same. One that cannot be drawn, or is never
accepted, fails a test by its name.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any

from csnode.api.about import Rank
from csnode.model.entity import Entity
from csnode.model.host import Host, Maintenance, Retired, Seen, StoragePool
from csnode.model.identity import Account, Domain
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering
from csnode.model.physical import PhysicalNetwork
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.template import Template
from csnode.model.vm import Vm, VmState, Want
from csnode.model.volume import Volume
from csnode.testing.scene import Scene

Make = Callable[[Scene], str | None]
Fits = Callable[[Any, Scene], bool]
URL = "http://images.example/tiny.qcow2"
SHARED = "san"  # the pool that hosts share in some worlds
NAMES = ("web", "db", "mail")  # few, so that machines compete for them
PUBLIC = IPv4Network("203.0.113.0/24")  # of zones that clients make

WEIGHTS: dict[str, int] = {
    "deployVirtualMachine": 14, "startVirtualMachine": 7, "stopVirtualMachine": 5,
    "rebootVirtualMachine": 2, "destroyVirtualMachine": 4, "recoverVirtualMachine": 6,
    "expungeVirtualMachine": 4, "updateVirtualMachine": 3, "cancelAsyncJob": 5,
    "createNetwork": 4, "deleteNetwork": 5, "registerTemplate": 3, "deleteTemplate": 4,
    "migrateVirtualMachine": 7, "migrateVirtualMachineWithVolume": 4,
    "prepareHostForMaintenance": 4, "cancelHostMaintenance": 3, "deleteHost": 3, "addHost": 3,
    "deleteStoragePool": 4, "createStoragePool": 4, "deleteZone": 2, "deletePod": 2,
    "createZone": 2, "createVlanIpRange": 4, "deleteVlanIpRange": 5, "addTrafficType": 3,
    "deleteTrafficType": 3, "updateTrafficType": 2, "enableStorageMaintenance": 4,
    "cancelStorageMaintenance": 3, "updatePhysicalNetwork": 3, "deletePhysicalNetwork": 3,
    "createPhysicalNetwork": 2, "deleteCluster": 2, "deleteServiceOffering": 2,
}  # fmt: skip
"""How often a command is drawn, against 1 for all others."""

SCRIPTED = {
    "declareHostAsDegraded": "an operator's word must be true: see operator.py",
}
"""Commands that are not drawn but played, and why."""

NEVER = {
    "projectid", "vpcid", "storageid", "domainid", "zoneids",
    "securitygroupenabled", "localstorageenabled", "forvirtualnetwork",
    "forcedestroylocalstorage", "addHost.clustername",
}  # fmt: skip
"""Parameters that may be left out and are: every value of them is refused."""

PLACES = {Host, Cluster, Pod, StoragePool}
"""Where things are to be: root admins alone may say it."""

ALWAYS = {
    "deployVirtualMachine.templateid", "registerTemplate.zoneid",
    "createServiceOffering.cpunumber", "createServiceOffering.memory",
    "createStoragePool.clusterid", "addHost.clusterid", "archiveAlerts.ids", "deleteAlerts.ids",
    "createVlanIpRange.zoneid", "createVlanIpRange.gateway", "createVlanIpRange.netmask",
    "createVlanIpRange.startip", "createVlanIpRange.endip",
    "migrateVirtualMachineWithVolume.autoselect", "deployVirtualMachine.networkids",
}  # fmt: skip
"""Parameters that may be left out by their declaration, and without which little is accepted."""

OFTEN: dict[str, float] = {
    "deployVirtualMachine.name": 0.3, "destroyVirtualMachine.expunge": 0.4,
    "registerTemplate.ispublic": 0.5, "deleteHost.forced": 0.9, "deleteStoragePool.forced": 0.9,
    "migrateVirtualMachine.hostid": 0.4, "updateVirtualMachine.deleteprotection": 0.1,
}  # fmt: skip
"""How often such a parameter is given, if not as others of its type are."""


# -- texts and numbers -----------------------------------------------------------------------------


def _fresh(scene: Scene) -> str:
    """Return a name that nobody has."""
    return f"{scene.command[:6].lower()}-{scene.chance.randrange(10**6)}"


def _name(scene: Scene) -> str:
    return scene.chance.choice(NAMES) if scene.chance.random() < 0.3 else _fresh(scene)


def _enabled(scene: Scene) -> str:
    putting_away = scene.command.startswith("update") and scene.chance.random() < 0.35
    return "Disabled" if putting_away else "Enabled"


def _address(scene: Scene) -> str | None:
    """Choose one of few in the network that was chosen, so that machines compete for them."""
    network = scene.chosen.get(Network)
    if not isinstance(network, Network):
        return None
    return str(IPv4Network(network.cidr, strict=False)[scene.chance.randint(100, 104)])


def _networks(scene: Scene) -> str | None:
    """Choose mostly one of the account's own; an account with one network need not name it."""
    own = [n for n in scene.all(Network) if isinstance(n, Network) and _is_own(n, scene)]
    usable = [n for n in own if not n.gone]
    if not usable or (len(own) == 1 and scene.chance.random() < 0.5):
        return ""
    few = scene.chance.sample(usable, 2 if len(usable) > 1 and scene.chance.random() < 0.2 else 1)
    scene.chosen[Network] = few[0]
    return ",".join(network.id for network in few)


def _gone_host(scene: Scene) -> str | None:
    """Return the address of a machine whose host was removed."""
    gone = [scene.hosts[row.id] for row in scene.all(Retired) if row.id in scene.hosts]
    return f"http://{scene.chance.choice(gone)}" if gone else None


def _gone_pool(scene: Scene) -> str | None:
    gone = [row for row in scene.all(Retired) if isinstance(row, Retired) and row.name == SHARED]
    return SHARED if gone else None


def _own_range(scene: Scene) -> str | None:
    """Return the id of a range of public addresses, which is the id of its zone."""
    zones = [z for z in scene.all(Zone) if isinstance(z, Zone) and z.public_cidr]
    spare = [z for z in zones if not _is_home(z, scene)]
    if not spare and scene.chance.random() < 0.98:
        return None
    return scene.chance.choice(spare or zones).id if zones else None


def _of_texts(*texts: str) -> Make:
    return lambda scene: scene.chance.choice(texts)


MADE: dict[str, Make] = {
    "name": _name,
    "clustername": _fresh,
    "displayname": _fresh,
    "displaytext": _fresh,
    "group": _of_texts("front", "back"),
    "description": _of_texts("a client says so"),
    "userdata": lambda scene: base64.b64encode(_fresh(scene).encode()).decode(),
    "ipaddress": _address,
    "networkdomain": _of_texts("lan.example", "cloud.example"),
    "url": _of_texts(URL, URL.replace("tiny", "small")),
    "format": _of_texts("QCOW2", "RAW"),
    "hypervisor": _of_texts("KVM"),
    "clustertype": _of_texts("CloudManaged"),
    "networktype": _of_texts("Advanced"),
    "traffictype": _of_texts("Guest", "Public", "Management", "Storage"),
    "provider": _of_texts("sim", "manual"),
    "type": _of_texts("7", "28"),
    "dns1": _of_texts("192.0.2.1", "192.0.2.2"),
    "internaldns1": _of_texts("192.0.2.3"),
    "allocationstate": _enabled,
    "state": _enabled,
    "cpunumber": _of_texts("1", "2"),
    "cpuspeed": _of_texts("500", "1000"),
    "memory": _of_texts("128", "512"),
    "size": _of_texts("1", "2"),
    "gateway": lambda _: None,
    "netmask": lambda _: None,
    "startip": lambda _: None,
    "endip": lambda _: None,
    "networkspeed": _of_texts("10G"),
    "kvmnetworklabel": _of_texts("br0", "br1"),
    "deployVirtualMachine.networkids": _networks,
    "addHost.url": _gone_host,
    "addHost.hypervisor": _of_texts("Simulator"),
    "addCluster.hypervisor": _of_texts("Simulator"),
    "createStoragePool.name": _gone_pool,
    "createStoragePool.url": _of_texts("nfs://san.example/pool"),
    "createNetwork.name": _fresh,
    "createZone.name": _fresh,
    "createPod.name": _fresh,
    "updateZone.name": _fresh,
    "updateStoragePool.name": _of_texts(SHARED),
    "createVlanIpRange.gateway": lambda _: str(PUBLIC[1]),
    "createVlanIpRange.netmask": lambda _: str(PUBLIC.netmask),
    "createVlanIpRange.startip": lambda _: str(PUBLIC[10]),
    "createVlanIpRange.endip": lambda _: str(PUBLIC[40]),
    "deleteVlanIpRange.id": _own_range,
    "deleteHost.forced": _of_texts("true"),
    "deleteStoragePool.forced": _of_texts("true"),
    "destroyVirtualMachine.expunge": _of_texts("true"),
    "migrateVirtualMachineWithVolume.autoselect": _of_texts("true"),
    "updateHost.hosttags": lambda _: None,
}


def _owner(scene: Scene) -> dict[str, str]:
    """Let an admin act for somebody else now and then."""
    is_user = scene.caller.rank is Rank.USER
    if is_user or scene.chosen.get(Network) or scene.chance.random() >= 0.15:
        return {}
    accounts = [a for a in scene.all(Account) if isinstance(a, Account)]
    account = scene.chance.choice(accounts)
    return {"account": account.name, "domainid": account.domain}


def _span(scene: Scene) -> dict[str, str]:
    """Give the network a range of its own choice now and then."""
    if scene.command != "createNetwork" or scene.chance.random() >= 0.4:
        return {}
    third = scene.chance.randrange(2, 6)
    return {"gateway": f"10.2.{third}.1", "netmask": "255.255.255.0"}


TOGETHER: Mapping[tuple[str, ...], Callable[[Scene], dict[str, str]]] = {
    ("account", "domainid"): _owner,
    ("gateway", "netmask"): _span,
}
"""Parameters that say something only together."""


# -- which rows ------------------------------------------------------------------------------------


def _is_own(row: Any, scene: Scene) -> bool:
    return row.account == scene.caller.account


def _has_hosts(row: Entity, scene: Scene) -> bool:
    return any(getattr(host, row.kind) == row.id for host in scene.view.all(Host))


def _is_home(zone: Zone, scene: Scene) -> bool:
    return _has_hosts(zone, scene) or bool(scene.view.by(Pod, "zone", zone.id))


def _takes(host: Host, _: Scene) -> bool:
    return host.seen is Seen.UP and host.enabled and not host.maintenance and not host.fenced


def _runs(vm: Vm, _: Scene) -> bool:
    return vm.want is Want.RUNNING and vm.host is not None


def _rests(vm: Vm, scene: Scene) -> bool:
    return vm.want is Want.STOPPED and vm.host is None and not _busy(vm, scene)


def _busy(row: Entity, scene: Scene) -> bool:
    return any(job.open for job in scene.view.by(Job, "object_id", row.id))


def _is_destroyed(vm: Vm, scene: Scene) -> bool:
    return vm.want is Want.DESTROYED and not _busy(vm, scene)


def _may_move(vm: Vm, scene: Scene) -> bool:
    others = [h for h in scene.view.all(Host) if h.id != vm.host and _takes(h, scene)]
    return _runs(vm, scene) and bool(others)


def _may_take(host: Host, scene: Scene) -> bool:
    vm = scene.chosen.get(Vm)
    return _takes(host, scene) and isinstance(vm, Vm) and host.id != vm.host


def _may_empty(host: Host, scene: Scene) -> bool:
    others = [h for h in scene.view.all(Host) if h.id != host.id and _takes(h, scene)]
    is_open = host.maintenance in (Maintenance.NONE, Maintenance.FAILED)
    return is_open and not host.fenced and bool(others)


def _is_bare(host: Host, scene: Scene) -> bool:
    """Tell whether nothing is on the host, in the records."""
    view = scene.view
    if any(host.id in (vm.host, vm.moving_to, *vm.maybe_on) for vm in view.all(Vm)):
        return False
    pools = view.by(StoragePool, "host", host.id)
    disks = any(view.by(Volume, "pool", pool.id) for pool in pools)
    return not disks and not view.by(Network, "router", host.id) and view.size(Host) > 1


def _is_empty(pool: StoragePool, scene: Scene) -> bool:
    return pool.host is None and not scene.view.by(Volume, "pool", pool.id)


def _is_idle(pool: StoragePool, scene: Scene) -> bool:
    owners = (scene.view.maybe(Vm, v.vm) for v in scene.view.by(Volume, "pool", pool.id))
    return not pool.maintenance and not any(vm and (vm.host or vm.maybe_on) for vm in owners)


def _unused(kind: type[Entity]) -> Fits:
    """Return what tells whether a place has none of that kind in it."""
    return lambda row, scene: all(getattr(o, row.kind) != row.id for o in scene.view.all(kind))


def _is_spare(network: PhysicalNetwork, scene: Scene) -> bool:
    others = scene.view.by(PhysicalNetwork, "zone", network.zone)
    return len(others) > 1 or not scene.view.by(Network, "zone", network.zone)


def _is_deletable(template: Template, scene: Scene) -> bool:
    used = scene.view.by(Vm, "template", template.id)
    mine = scene.root or template.account == scene.caller.account
    return mine and not used and not template.gone and template.name != "tiny"


FITS: dict[str, Fits] = {
    "startVirtualMachine.id": _rests,
    "stopVirtualMachine.id": _runs,
    "rebootVirtualMachine.id": _runs,
    "destroyVirtualMachine.id": lambda vm, _: (
        vm.want in (Want.RUNNING, Want.STOPPED) and not vm.delete_protection
    ),
    "recoverVirtualMachine.id": _is_destroyed,
    "expungeVirtualMachine.id": _is_destroyed,
    "migrateVirtualMachine.virtualmachineid": _may_move,
    "migrateVirtualMachine.hostid": _may_take,
    "migrateVirtualMachineWithVolume.virtualmachineid": _may_move,
    "migrateVirtualMachineWithVolume.hostid": _may_take,
    "cancelAsyncJob.jobid": lambda job, _: job.open and job.account is not None,
    "deleteNetwork.id": lambda n, scene: not n.gone and not scene.view.by(Nic, "network", n.id),
    "deleteTemplate.id": _is_deletable,
    "prepareHostForMaintenance.id": _may_empty,
    "cancelHostMaintenance.id": lambda host, _: bool(host.maintenance),
    "deleteHost.id": _is_bare,
    "reconnectHost.id": lambda host, _: host.seen is Seen.UP and not host.maintenance,
    "cancelHostAsDegraded.id": lambda host, _: host.degraded,
    "deleteStoragePool.id": _is_empty,
    "enableStorageMaintenance.id": _is_idle,
    "cancelStorageMaintenance.id": lambda pool, _: pool.maintenance,
    "createVlanIpRange.zoneid": lambda zone, _: not zone.public_cidr,
    "deleteZone.id": lambda zone, scene: not _is_home(zone, scene),
    "deletePod.id": _unused(Cluster),
    "deleteCluster.id": _unused(Host),
    "registerUserKeys.id": _is_own,
    "deletePhysicalNetwork.id": _is_spare,
    "deleteServiceOffering.id": lambda row, _: not row.removed and "Instance" not in row.name,
}
"""The rows that a command makes sense for; it is asked about others now and then."""

PREFERRED: dict[type[Entity], Fits] = {
    Zone: _has_hosts,
    Pod: _has_hosts,
    Cluster: _has_hosts,
    Host: _takes,
    Network: lambda row, scene: _is_own(row, scene) and not row.gone,
    Template: lambda row, _: row.ready and not row.gone,
    Offering: lambda row, _: not row.removed,
    DiskOffering: lambda row, _: not row.removed,
    NetworkOffering: lambda row, _: row.enabled,
    Domain: lambda _, __: True,
}
"""The rows that other parameters name rather than others of their kind."""


# -- what comes after ------------------------------------------------------------------------------

AFTERWARDS: dict[str, str] = {
    "prepareHostForMaintenance": "cancelHostMaintenance",
    "enableStorageMaintenance": "cancelStorageMaintenance",
    "deleteHost": "addHost",
    "deleteStoragePool": "createStoragePool",
    "deleteVlanIpRange": "createVlanIpRange",
}
"""What puts back what a command took away: whoever ordered the one orders the other later."""

OPPOSITE: dict[tuple[str, str], str] = {
    ("allocationstate", "Disabled"): "Enabled",
    ("state", "Disabled"): "Enabled",
    ("enabled", "false"): "true",
    ("deleteprotection", "true"): "false",
}
"""A parameter that puts something away, and its value that brings it back."""

BECOMES: dict[str, str] = {
    "startVirtualMachine": VmState.RUNNING,
    "stopVirtualMachine": VmState.STOPPED,
    "rebootVirtualMachine": VmState.RUNNING,
    "migrateVirtualMachine": VmState.RUNNING,
    "migrateVirtualMachineWithVolume": VmState.RUNNING,
    "destroyVirtualMachine": VmState.DESTROYED,
    "expungeVirtualMachine": "gone",
}
"""The state that a machine is in once the job is done."""
