"""Where a machine is to run, as deployVirtualMachine and startVirtualMachine are told it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from csnode.directory.directory import Member, Serving
from csnode.model.entity import Entity
from csnode.model.host import Host, Seen
from csnode.model.job import Job
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.vm import Vm, Want
from csnode.types import NodeId, Power
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOSS, Desk

NET, VM = seeds.uuid(500), seeds.uuid(1_000_001)
FAR_ZONE, FAR_POD, FAR_CLUSTER, FAR_HOST = (seeds.uuid(n) for n in (621, 622, 623, 624))
DEPLOY = {
    "zoneid": seeds.ZONE,
    "serviceofferingid": seeds.SMALL,
    "templateid": seeds.IMAGE,
}
COMMANDS = {"deployVirtualMachine": DEPLOY, "startVirtualMachine": {"id": VM}}
HERE = {"hostid": seeds.HOST, "clusterid": seeds.CLUSTER, "podid": seeds.POD}
FAR = {"hostid": FAR_HOST, "clusterid": FAR_CLUSTER, "podid": FAR_POD}
both = pytest.mark.parametrize("command", COMMANDS)
every = pytest.mark.parametrize("parameter", HERE)


@pytest.fixture
async def desk(desk: Desk) -> Desk:
    """With a machine of alice's that is stopped, and a second zone with a host."""
    (near,) = await desk.store.find(Host)
    far: Any = {"zone": FAR_ZONE, "pod": FAR_POD}
    await desk.plant(
        [
            *seeds.network(NET),
            *seeds.machine(1, NET, want=Want.STOPPED, power=Power.OFF, host=None),
            Zone(id=FAR_ZONE, name="far", dns1="198.51.100.53"),
            Pod(id=FAR_POD, zone=FAR_ZONE, name="far pod"),
            Cluster(id=FAR_CLUSTER, name="far cluster", **far),
            msgspec.structs.replace(near, id=FAR_HOST, name="h9", cluster=FAR_CLUSTER, **far),
        ]
    )
    return desk


async def nothing_was_done(desk: Desk) -> bool:
    vms = await desk.store.find(Vm)
    return [vm.want for vm in vms] == [Want.STOPPED] and not await desk.store.find(Job)


async def change(desk: Desk, kind: type[Entity], id: str, **columns: Any) -> None:
    change = desk.store.change()
    change.update(kind, id, **columns)
    await change.commit()


@both
@every
async def test_a_root_admins_word_goes_with_the_order(
    desk: Desk, command: str, parameter: str
) -> None:
    asked = COMMANDS[command] | {parameter: HERE[parameter]}
    job = await desk.store.get(Job, (await desk.ask(command, ADMIN, **asked))["jobid"])
    told = {"host": None, "cluster": None, "pod": None}
    told[parameter.removesuffix("id")] = HERE[parameter]
    assert {name: job.order[name] for name in told} == told


@both
@every
@pytest.mark.parametrize("by", [ALICE, BOSS], ids=["user", "domain admin"])
async def test_nobody_else_may_say_it(desk: Desk, command: str, parameter: str, by: Any) -> None:
    asked = COMMANDS[command] | {parameter: HERE[parameter]}
    refusal = await desk.refused(command, by, **asked)
    assert refusal["errorcode"] == 531
    assert f"Parameter {parameter} can only be specified by a Root Admin" in refusal["errortext"]
    assert await nothing_was_done(desk)


@both
@every
async def test_a_place_that_is_not_there_is_refused_at_once(
    desk: Desk, command: str, parameter: str
) -> None:
    refusal = await desk.refused(command, **COMMANDS[command], **{parameter: seeds.uuid(999)})
    assert refusal["errorcode"] == 431
    assert f"Invalid parameter {parameter}" in refusal["errortext"]
    assert await nothing_was_done(desk)


@both
@every
async def test_a_place_in_another_zone_is_refused_at_once(
    desk: Desk, command: str, parameter: str
) -> None:
    refusal = await desk.refused(command, **COMMANDS[command], **{parameter: FAR[parameter]})
    assert refusal["errorcode"] == 431
    assert "is not in the machine's zone zone1" in refusal["errortext"]
    assert await nothing_was_done(desk)


@both
@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"enabled": False}, "it is disabled"),
        ({"maintenance": "on"}, "it is in maintenance"),
        ({"degraded": True}, "it is declared degraded"),
    ],
)
async def test_a_host_to_which_no_machine_comes_is_refused_at_once(
    desk: Desk, command: str, columns: dict[str, Any], why: str
) -> None:
    await change(desk, Host, seeds.HOST, **columns)
    refusal = await desk.refused(command, **COMMANDS[command], hostid=seeds.HOST)
    assert refusal["errorcode"] == 431
    assert "host: h1 is not in the right state" in refusal["errortext"]
    assert why in refusal["errortext"]
    assert await nothing_was_done(desk)


@both
@every
@pytest.mark.parametrize(("kind", "id"), [(Cluster, seeds.CLUSTER), (Pod, seeds.POD)])
async def test_nothing_starts_in_a_disabled_cluster_or_pod(
    desk: Desk, command: str, parameter: str, kind: type[Cluster] | type[Pod], id: str
) -> None:
    await change(desk, kind, id, enabled=False)
    params = {parameter: HERE[parameter]}
    if (parameter, kind) == ("podid", Cluster):  # the pod may have others
        await desk.ask(command, **COMMANDS[command], **params)
        return
    refusal = await desk.refused(command, **COMMANDS[command], **params)
    assert refusal["errorcode"] == 431
    assert f"{kind.kind}" in refusal["errortext"]
    assert "is disabled" in refusal["errortext"]
    assert await nothing_was_done(desk)


@both
async def test_a_host_that_is_down_is_refused_at_once(desk: Desk, command: str) -> None:
    await desk.observe(Host, seeds.HOST, "monitor", seen=Seen.DOWN)
    refusal = await desk.refused(command, **COMMANDS[command], hostid=seeds.HOST)
    assert (refusal["errorcode"], "it is not Up but Down" in refusal["errortext"]) == (431, True)
    assert await nothing_was_done(desk)


@both
async def test_it_is_refused_while_an_orchestrator_would_not_understand_it(
    desk: Desk, command: str
) -> None:
    older = Member(
        node=NodeId("old/orchestrator"), cluster="csnode", incarnation=1, number=1, host="old",
        roles=("orchestrator",), serves=(Serving(contract="Orchestrator"),), calls="", events="",
        wire=2,
    )  # fmt: skip
    known = desk.api.bus.directory
    known.announce(older)
    refusal = await desk.refused(command, **COMMANDS[command], hostid=seeds.HOST)
    assert refusal["errorcode"] == 536
    assert "old/orchestrator" in refusal["errortext"]
    assert await nothing_was_done(desk)
    await desk.ask(command, **COMMANDS[command])  # what it does understand
