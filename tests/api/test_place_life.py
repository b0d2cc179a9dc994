"""Zones, pods and clusters are made, changed and removed."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.place import Zone
from csnode.model.stock import Range
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk


async def refusal(desk: Desk, command: str, by: Any = ADMIN, **params: str) -> tuple[int, str]:
    body = await desk.refused(command, by, **params)
    return body["errorcode"], body["errortext"]


ZONE = {"name": "east", "networktype": "Advanced", "dns1": "9.9.9.9", "internaldns1": "10.0.0.2"}


async def test_a_zone_comes_with_numbers_for_its_networks(desk: Desk) -> None:
    zone = (await desk.ask("createZone", ADMIN, **ZONE, domain="east.example"))["zone"]
    assert (zone["name"], zone["allocationstate"], zone["dns1"], zone["domain"]) == (
        "east", "Enabled", "9.9.9.9", "east.example")  # fmt: skip
    numbers = await desk.store.get(Range, f"vni:{zone['id']}")
    assert 0 < numbers.low < numbers.high
    (event,) = (await desk.ask("listEvents", type="ZONE.CREATE"))["event"]
    assert event["resourceid"] == zone["id"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"networktype": "Basic"}, "Advanced"),
        ({"dns1": "nine"}, "dns1"),
        ({"internaldns2": "10.0.0.400"}, "internaldns2"),
        ({"guestcidraddress": "198.18.0.0/15x"}, "guestcidraddress"),
        ({"guestcidraddress": "8.8.8.0/24"}, "private"),
        ({"guestcidraddress": "0.0.0.0/24"}, "private"),
        ({"guestcidraddress": "10.0.0.0/8"}, "/16 to a /29"),
        ({"dns1": "0.0.0.0"}, "dns1"),
        ({"dns2": "224.0.0.1"}, "dns2"),
        ({"domain": "a b"}, "Invalid network domain"),
        ({"securitygroupenabled": "true"}, "not offered"),
        ({"allocationstate": "Paused"}, "Enabled or Disabled"),
        ({"name": " "}, "name"),
    ],
)
async def test_a_zone_that_cannot_be_is_refused_whole(
    desk: Desk, wrong: dict[str, str], says: str
) -> None:
    before = len(await desk.store.find(Zone))
    _, text = await refusal(desk, "createZone", ADMIN, **{**ZONE, **wrong})
    assert says in text
    assert len(await desk.store.find(Zone)) == before


async def test_names_of_zones_are_unique(desk: Desk) -> None:
    await desk.ask("createZone", ADMIN, **ZONE)
    code, text = await refusal(desk, "createZone", ADMIN, **ZONE)
    assert (code, text) == (431, "A zone with name: east already exists.")
    other = (await desk.ask("createZone", ADMIN, **{**ZONE, "name": "west"}))["zone"]
    code, _ = await refusal(desk, "updateZone", id=other["id"], name="east")
    assert code == 431


async def test_a_zone_is_changed_where_it_is_told_to(desk: Desk) -> None:
    zone = (await desk.ask("createZone", ADMIN, **ZONE))["zone"]
    changed = await desk.ask(
        "updateZone", id=zone["id"], dns2="1.1.1.1", allocationstate="Disabled"
    )
    assert changed["zone"]["dns2"] == "1.1.1.1"
    assert changed["zone"]["dns1"] == "9.9.9.9"
    assert changed["zone"]["allocationstate"] == "Disabled"
    assert zone["id"] not in [z["id"] for z in (await desk.ask("listZones", ALICE))["zone"]]


async def test_a_zone_goes_once_it_is_empty(desk: Desk) -> None:
    zone = (await desk.ask("createZone", ADMIN, **ZONE))["zone"]
    pod = (await desk.ask("createPod", zoneid=zone["id"], name="rack"))["pod"]
    code, text = await refusal(desk, "deleteZone", id=zone["id"])
    assert code == 431
    assert "1 of kind pod" in text
    await desk.ask("deletePod", id=pod["id"])
    assert await desk.ask("deleteZone", id=zone["id"]) == {"success": True}
    assert await desk.store.find(Range, id=f"vni:{zone['id']}") == []


async def test_a_zone_with_machines_is_not_deleted(desk: Desk) -> None:
    code, text = await refusal(desk, "deleteZone", id=seeds.ZONE)
    assert code == 431
    assert "is not empty" in text
    assert (await desk.store.get(Zone, seeds.ZONE)).id == seeds.ZONE


async def test_a_pods_addresses_are_checked_together(desk: Desk) -> None:
    span = {"gateway": "10.2.0.1", "netmask": "255.255.255.0", "startip": "10.2.0.10"}
    pod = (await desk.ask("createPod", ADMIN, zoneid=seeds.ZONE, name="rack", **span))["pod"]
    assert (pod["gateway"], pod["startip"], pod["endip"]) == (
        "10.2.0.1", ["10.2.0.10"], ["10.2.0.10"])  # fmt: skip
    for wrong in ({"endip": "10.2.0.9"}, {"endip": "10.3.0.1"}, {"startip": "10.2.0.1"}):
        await desk.refused("updatePod", ADMIN, id=pod["id"], **wrong)
    await desk.refused("createPod", zoneid=seeds.ZONE, name="other", gateway="10.2.0.1")
    changed = (await desk.ask("updatePod", id=pod["id"], endip="10.2.0.20"))["pod"]
    assert changed["endip"] == ["10.2.0.20"]
    await desk.refused("createPod", zoneid=seeds.ZONE, name="rack")


async def test_a_cluster_is_added_to_a_pod(desk: Desk) -> None:
    pod = (await desk.ask("createPod", zoneid=seeds.ZONE, name="rack"))["pod"]
    wanted = {
        "zoneid": seeds.ZONE, "podid": pod["id"], "clustername": "blue",
        "clustertype": "CloudManaged", "hypervisor": "kvm",
    }  # fmt: skip
    (cluster,) = (await desk.ask("addCluster", ADMIN, **wanted))["cluster"]
    assert (cluster["name"], cluster["hypervisortype"], cluster["podname"]) == (
        "blue", "KVM", "rack")  # fmt: skip
    code, _ = await refusal(desk, "addCluster", ADMIN, **wanted)
    assert code == 431
    await desk.refused(
        "addCluster", ADMIN, **{**wanted, "clustername": "x", "hypervisor": "VMware"}
    )
    await desk.refused(
        "addCluster", ADMIN, **{**wanted, "clustername": "x", "clustertype": "External"}
    )
    code, text = await refusal(desk, "deletePod", id=pod["id"])
    assert "1 of kind cluster" in text
    changed = await desk.ask("updateCluster", id=cluster["id"], allocationstate="Disabled")
    assert changed["cluster"]["allocationstate"] == "Disabled"
    assert await desk.ask("deleteCluster", id=cluster["id"]) == {"success": True}
    assert await desk.ask("deletePod", id=pod["id"]) == {"success": True}


async def test_users_make_no_places(desk: Desk) -> None:
    commands: dict[str, Any] = {"createZone": ZONE, "deleteZone": {"id": seeds.ZONE}}
    for command, params in commands.items():
        code, text = await refusal(desk, command, ALICE, **params)
        assert code == 432
        assert "not available" in text
