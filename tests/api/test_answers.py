"""Every command there is, asked once: its answer, and its job's result, have the declared types."""

from __future__ import annotations

from typing import Any

import msgspec

from csnode.api.command import load_commands
from csnode.model.alert import Alert
from csnode.model.entity import Entity
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.job import Job, JobState, StepTime
from csnode.model.vm import Want
from csnode.types import Power
from roles.api.views.job import INSTANCE_TYPES
from tests.api import seeds
from tests.api.conftest import ADMIN, Desk
from tests.api.shape import wrong, wrong_result
from tests.api.test_host_life import heard

NET, EMPTY, BUSY, OPEN, STEPS = (seeds.uuid(number) for number in (500, 501, 24, 601, 602))
RUNNING, STOPPED, DESTROYED, ALSO, THIRD = (
    seeds.uuid(1_000_000 + number) for number in range(1, 6)
)
OFF: dict[str, Any] = {"want": Want.STOPPED, "host": None, "power": Power.OFF}
HOST2, HOST3 = seeds.uuid(26), seeds.uuid(27)
COMMANDS = load_commands()
WORDS = {*INSTANCE_TYPES.values(), None}  # of kinds that CloudStack has no word for


def rows() -> list[Entity]:
    """Something of each kind, so that no list is empty."""
    return [
        *seeds.network(NET), *seeds.network(EMPTY, name="empty"),
        *seeds.machine(1, NET), *seeds.machine(2, NET, **OFF),
        *seeds.machine(3, NET, **OFF | {"want": Want.DESTROYED, "destroyed": 150.0}),
        *seeds.machine(4, NET), *seeds.machine(5, NET),
        Host(id=HOST2, name="h2", zone=seeds.ZONE, pod=seeds.POD, cluster=seeds.CLUSTER,
             address="192.0.2.11", seen=Seen.ALERT, cpus=8, cpu_mhz=2000, memory_mib=16384),
        Host(id=HOST3, name="h3", zone=seeds.ZONE, pod=seeds.POD, cluster=seeds.CLUSTER,
             address="192.0.2.12", seen=Seen.UP, cpus=8, cpu_mhz=2000, memory_mib=16384),
        StoragePool(id=seeds.uuid(28), name="h3-pool", zone=seeds.ZONE, pod=seeds.POD,
                    cluster=seeds.CLUSTER, host=HOST3, total_bytes=2**40),
        Alert(id=seeds.uuid(701), type=7, name="ALERT.COMPUTE.HOST", text="h2", sent=1.0),
        Alert(id=seeds.uuid(702), type=7, name="ALERT.COMPUTE.HOST", text="h1", sent=1.0),
        Job(id=OPEN, verb="stop_vm", command="stopVirtualMachine", object_kind="vm",
            object_id=ALSO, order={}, needs=(f"vm:{ALSO}",), account=seeds.ALICE, created=1.0),
        Job(id=STEPS, verb="stop_vm", command="stopVirtualMachine", object_kind="vm",
            object_id=THIRD, order={}, account=seeds.ALICE, state=JobState.DONE, created=1.0,
            ended=2.0, started=("power",), times=(StepTime(id="power", began=1.0, ended=2.0),)),
    ]  # fmt: skip


class Asker:
    """Asks as a root admin, and holds what it is told against the declarations."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.asked, self.faults = desk, set[str](), list[str]()

    async def ask(self, command: str, **params: str) -> Any:
        """The content of the answer; of a job, its result, once it is called done."""
        declared = COMMANDS[command.lower()]
        body = await self.desk.ask(command, ADMIN, **params)
        self.asked.add(command)
        self.faults += [f"{command}: {what}" for what in wrong(declared, body)]
        if declared.answers.name == "LIST" and command not in NOTHING:
            assert body.get("count"), f"{command} found nothing to hold against its declaration"
        return body

    async def ordered(self, command: str, **params: str) -> Any:
        """The result of the command's job, which is called done if nobody has done it yet."""
        declared, body = COMMANDS[command.lower()], await self.ask(command, **params)
        job = await self.desk.store.get(Job, body["jobid"])
        if job.open:
            change = self.desk.store.acting_as("orchestrator").change()
            change.update(Job, job.id, state=JobState.DONE, ended=job.created)
            await change.commit()
        found = await self.ask("queryAsyncJobResult", jobid=job.id)
        assert found["jobstatus"] == 1, found
        self.faults += [f"{command}: {w}" for w in wrong_result(declared, found["jobresult"])]
        if found.get("jobinstancetype") not in WORDS:
            self.faults.append(f"{command}: a job about a {found['jobinstancetype']}")
        return body | found["jobresult"]


NOTHING = {"listPortForwardingRules", "listIpForwardingRules", "listManagementServers"}
LISTS: dict[str, dict[str, str]] = {
    "listTemplates": {"templatefilter": "all"},
    "listHostHAProviders": {"hypervisor": "KVM"},
    "listJobQueue": {"resourceid": ALSO},
    "listJobSteps": {"jobid": STEPS},
    "findHostsForMigration": {"virtualmachineid": RUNNING},
}


async def places(asker: Asker) -> None:
    """A zone is made, changed, and taken away; every list is asked while it stands."""
    ask, ordered = asker.ask, asker.ordered
    zone = (await ask("createZone", name="east", networktype="Advanced", dns1="9.9.9.9",
                      internaldns1="10.0.0.2"))["zone"]["id"]  # fmt: skip
    pod = (await ask("createPod", zoneid=zone, name="rack"))["pod"]["id"]
    (cluster,) = (await ask("addCluster", zoneid=zone, podid=pod, clustername="c2",
                            clustertype="CloudManaged", hypervisor="KVM"))["cluster"]  # fmt: skip
    net = (await ordered("createPhysicalNetwork", zoneid=zone, name="core", vlan="5000-5003"))["id"]
    kind = (await ordered("addTrafficType", physicalnetworkid=net, traffictype="Guest"))["id"]
    await ask("createVlanIpRange", zoneid=zone, gateway="198.18.5.1", netmask="255.255.255.0",
              startip="198.18.5.10", endip="198.18.5.19")  # fmt: skip
    lists = {name for name in (d.name for d in COMMANDS.values())
             if name.startswith("list") and name != "listTrafficTypes"}  # fmt: skip
    for command in sorted(lists | {"findHostsForMigration"}):
        await ask(command, listall="true", **LISTS.get(command, {}))
    await ask("listTrafficTypes", physicalnetworkid=net)
    await ask("updateZone", id=zone, name="eastern")
    await ask("updatePod", id=pod, name="rack2")
    await ask("updateCluster", id=cluster["id"], clustername="c3")
    await ordered("updatePhysicalNetwork", id=net, tags="fast")
    await ordered("updateTrafficType", id=kind, kvmnetworklabel="br7")
    await ordered("deleteTrafficType", id=kind)
    await ordered("deletePhysicalNetwork", id=net)
    await ask("deleteVlanIpRange", id=zone)
    await ask("deleteCluster", id=cluster["id"])
    await ask("deletePod", id=pod)
    await ask("deleteZone", id=zone)


async def hosts(asker: Asker) -> None:
    """Hosts and pools join, are tended, and leave."""
    ask, ordered, host = asker.ask, asker.ordered, seeds.HOST
    for switch in ("enable", "disable"):
        await ordered(f"{switch}HAForHost", hostid=host)
        await ordered(f"{switch}HAForCluster", clusterid=seeds.CLUSTER)
        await ordered(f"{switch}HAForZone", zoneid=seeds.ZONE)
    await ordered("configureHAForHost", hostid=host, provider="manual")
    await ordered("declareHostAsDegraded", id=HOST2)
    await ordered("cancelHostAsDegraded", id=HOST2)
    await ordered("reconnectHost", id=host)
    await ordered("prepareHostForMaintenance", id=host)
    await ordered("cancelHostMaintenance", id=host)
    await ask("updateHost", id=host, hosttags="ssd")
    await ask("updateStoragePool", id=seeds.POOL, tags="ssd")
    heard(asker.desk, "box", shared="nfs1")
    place = {"zoneid": seeds.ZONE, "clusterid": seeds.CLUSTER}
    (box,) = (await ask("addHost", **place, podid=seeds.POD, hypervisor="KVM", url="http://box"))[
        "host"
    ]
    pool = (await ask("createStoragePool", **place, name="nfs1", url="nfs://nas/nfs1"))[
        "storagepool"
    ]["id"]
    await ordered("enableStorageMaintenance", id=pool)
    await ordered("cancelStorageMaintenance", id=pool)
    await ordered("enableStorageMaintenance", id=pool)
    await ask("deleteStoragePool", id=pool)
    await ask("updateHost", id=box["id"], allocationstate="Disable")
    await ask("deleteHost", id=box["id"])


async def machines(asker: Asker) -> None:
    """What tenants have: machines, networks, templates."""
    ask, ordered = asker.ask, asker.ordered
    size = {"serviceofferingid": seeds.SMALL, "templateid": seeds.IMAGE}
    await ordered("deployVirtualMachine", zoneid=seeds.ZONE, **size)
    await ordered("rebootVirtualMachine", id=RUNNING)
    await ordered("stopVirtualMachine", id=RUNNING)
    await ordered("startVirtualMachine", id=STOPPED)
    await ask("recoverVirtualMachine", id=DESTROYED)
    await ask("updateVirtualMachine", id=STOPPED, displayname="named")
    for command in ("migrateVirtualMachine", "migrateVirtualMachineWithVolume"):
        await ordered(command, virtualmachineid=THIRD, hostid=HOST3)
    await ask("cancelAsyncJob", jobid=OPEN)
    await ordered("destroyVirtualMachine", id=STOPPED)
    await ordered("expungeVirtualMachine", id=STOPPED)
    offering = {"networkofferingid": seeds.NET_OFFERING, "zoneid": seeds.ZONE}
    await ask("createNetwork", name="mine", **offering)
    await ordered("deleteNetwork", id=EMPTY)
    await ask("registerTemplate", name="t", url="http://images.test/t.qcow2", format="QCOW2",
              hypervisor="KVM", zoneid=seeds.ZONE)  # fmt: skip
    await ordered("deleteTemplate", id=seeds.RAW_IMAGE)
    size = await ask("createServiceOffering", name="big", cpunumber="4", memory="4096")
    await ask("deleteServiceOffering", id=size["serviceoffering"]["id"])


async def test_every_command_answers_as_it_declares(desk: Desk) -> None:
    await desk.plant(rows())
    asker, user = Asker(desk), seeds.user_of(seeds.ALICE)
    await places(asker)
    await hosts(asker)
    await machines(asker)
    await asker.ordered("generateAlert", type="1", name="ALERT.MEMORY", description="low")
    await asker.ask("archiveAlerts", ids=seeds.uuid(701))
    await asker.ask("deleteAlerts", type="7")
    await asker.ask("registerUserKeys", id=user)
    await asker.ask("getUserKeys", id=user)
    await asker.ask("login", username="admin", password=seeds.PASSWORD)
    await asker.ask("logout")
    assert asker.faults == []
    assert {d.name for d in COMMANDS.values()} - asker.asked == set()


async def test_the_words_of_what_a_job_is_about_are_cloudstacks(desk: Desk) -> None:
    """A word that its UI does not know breaks its page of events."""
    await desk.ask("updateZone", id=seeds.ZONE, name="east")
    await desk.ask("updatePod", id=seeds.POD, name="rack")
    await desk.ask("updateCluster", id=seeds.CLUSTER, clustername="c")
    await desk.ask("updateHost", id=seeds.HOST, hosttags="ssd")
    found = await desk.ask("listEvents")
    assert {event["resourcetype"] for event in found["event"]} == {"Zone", "Pod", "Cluster", "Host"}


async def test_a_wrong_type_is_told(desk: Desk) -> None:
    """What holds answers against declarations can fail."""
    body = await desk.ask("listZones")
    assert wrong(COMMANDS["listzones"], body) == []
    for name, value in {"id": 7, "securitygroupsenabled": "false", "colour": "red"}.items():
        spoilt = msgspec.json.decode(msgspec.json.encode(body))
        spoilt["zone"][0][name] = value
        (fault,) = wrong(COMMANDS["listzones"], spoilt)
        assert name in fault
    assert wrong(COMMANDS["listpods"], body) != []
