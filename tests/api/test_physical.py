"""Physical networks, traffic types and public ranges: what makes a new zone usable."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.network import Network
from csnode.model.physical import PhysicalNetwork, TrafficType
from csnode.model.place import Zone
from csnode.model.stock import Range
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk

ZONE = {"name": "east", "networktype": "Advanced", "dns1": "9.9.9.9", "internaldns1": "10.0.0.2"}
PUBLIC = {
    "gateway": "198.18.5.1", "netmask": "255.255.255.0",
    "startip": "198.18.5.10", "endip": "198.18.5.19",
}  # fmt: skip


async def made(desk: Desk, command: str, key: str, **params: str) -> Any:
    """What an asynchronous command made, once its job says so."""
    ordered = await desk.ask(command, ADMIN, **params)
    result = await desk.ask("queryAsyncJobResult", jobid=ordered["jobid"])
    assert result["jobstatus"] == 1, result
    if "id" in ordered:
        assert result["jobresult"][key]["id"] == ordered["id"]
    return result["jobresult"].get(key, result["jobresult"])


async def test_a_zone_is_built_as_ansible_builds_it(desk: Desk) -> None:
    zone = (await desk.ask("createZone", ADMIN, **ZONE))["zone"]["id"]
    network = await made(
        desk, "createPhysicalNetwork", "physicalnetwork",
        zoneid=zone, name="core", isolationmethods="VXLAN", vlan="5000-5003", tags="fast",
    )  # fmt: skip
    assert (network["state"], network["vlan"], network["isolationmethods"]) == (
        "Enabled", "5000-5003", "VXLAN")  # fmt: skip
    for kind in ("Guest", "Public", "Management"):
        type = await made(
            desk, "addTrafficType", "traffictype",
            physicalnetworkid=network["id"], traffictype=kind,
        )  # fmt: skip
        assert type["traffictype"] == kind
    found = await desk.ask("listTrafficTypes", physicalnetworkid=network["id"])
    assert found["count"] == 3
    created = await desk.ask("createVlanIpRange", ADMIN, zoneid=zone, vlan="untagged", **PUBLIC)
    assert (created["vlan"]["startip"], created["vlan"]["physicalnetworkid"]) == (
        "198.18.5.10", network["id"])  # fmt: skip
    guest = await desk.ask(
        "createNetwork", ALICE, name="front", zoneid=zone, networkofferingid=seeds.NET_OFFERING
    )
    row = await desk.store.get(Network, guest["network"]["id"])
    assert (row.vni, row.public_address) == (5000, "198.18.5.10")


async def test_the_same_thing_is_not_made_twice(desk: Desk) -> None:
    network = await made(
        desk, "createPhysicalNetwork", "physicalnetwork", zoneid=seeds.ZONE, name="core"
    )
    again = await desk.refused("createPhysicalNetwork", zoneid=seeds.ZONE, name="core")
    assert again["errorcode"] == 431
    kind = {"physicalnetworkid": network["id"], "traffictype": "guest"}
    await made(desk, "addTrafficType", "traffictype", **kind)
    assert (await desk.refused("addTrafficType", ADMIN, **kind))["errorcode"] == 431
    assert len(await desk.store.find(TrafficType)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"isolationmethods": "VLAN"},
        {"vlan": "1000"},
        {"vlan": "2000-1000"},
        {"vlan": "1-99999999"},
        {"broadcastdomainrange": "POD"},
        {"name": ""},
    ],
)
async def test_what_is_not_offered_is_refused(desk: Desk, wrong: dict[str, str]) -> None:
    await desk.refused(
        "createPhysicalNetwork", ADMIN, **{"zoneid": seeds.ZONE, "name": "core", **wrong}
    )
    assert await desk.store.find(PhysicalNetwork) == []


async def test_numbers_in_use_stay_in_the_range(desk: Desk) -> None:
    await desk.ask(
        "createNetwork", ALICE, name="a", zoneid=seeds.ZONE, networkofferingid=seeds.NET_OFFERING
    )
    refusal = await desk.refused(
        "createPhysicalNetwork", zoneid=seeds.ZONE, name="core", vlan="5000-6000"
    )
    assert "has the number 1000" in refusal["errortext"]
    assert (await desk.store.get(Range, f"vni:{seeds.ZONE}")).low == 1000


async def test_a_physical_network_is_changed_and_goes_with_its_traffic(desk: Desk) -> None:
    network = await made(
        desk, "createPhysicalNetwork", "physicalnetwork", zoneid=seeds.ZONE, name="core"
    )
    kind = {"physicalnetworkid": network["id"], "traffictype": "Guest"}
    type = await made(desk, "addTrafficType", "traffictype", **kind)
    label = await made(
        desk, "updateTrafficType", "traffictype", id=type["id"], kvmnetworklabel="br7"
    )
    assert label["kvmnetworklabel"] == "br7"
    changed = await made(
        desk, "updatePhysicalNetwork", "physicalnetwork", id=network["id"], state="Disabled"
    )
    assert changed["state"] == "Disabled"
    assert await made(desk, "deletePhysicalNetwork", "", id=network["id"]) == {"success": True}
    assert await desk.store.find(PhysicalNetwork) == []
    assert await desk.store.find(TrafficType) == []


async def test_public_addresses_go_when_nobody_has_one(desk: Desk) -> None:
    zone = (await desk.ask("createZone", ADMIN, **ZONE))["zone"]["id"]
    range = (await desk.ask("createVlanIpRange", ADMIN, zoneid=zone, **PUBLIC))["vlan"]
    await desk.refused("createVlanIpRange", ADMIN, zoneid=zone, **PUBLIC)
    wanted = {"name": "a", "zoneid": zone, "networkofferingid": seeds.NET_OFFERING}
    network = (await desk.ask("createNetwork", ALICE, **wanted))["network"]
    refusal = await desk.refused("deleteVlanIpRange", id=range["id"])
    assert "1 networks have addresses of it, a for one" in refusal["errortext"]
    change = desk.store.change()
    change.give(network["id"])
    change.delete(Network, network["id"])
    await change.commit()
    assert await desk.ask("deleteVlanIpRange", id=range["id"]) == {"success": True}
    assert (await desk.store.get(Zone, zone)).public_cidr == ""
    assert await desk.ask("listVlanIpRanges", zoneid=zone) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"startip": "198.18.6.1"},
        {"endip": "198.18.5.9"},
        {"startip": "198.18.5.1"},
        {"gateway": "x"},
        {"netmask": ""},
        {"netmask": "0.0.0.255"},
        {"netmask": "255.255.255.255"},
        {"netmask": "0.0.0.0"},
        {"startip": "198.18.5.0"},
        {"endip": "198.18.5.255"},
        {"gateway": "198.18.5.0"},
        {"gateway": "198.18.5.255"},
        {"gateway": "0.0.5.1", "startip": "0.0.5.10", "endip": "0.0.5.20"},
        {"gateway": "10.1.1.1", "startip": "10.1.1.10", "endip": "10.1.1.20"},  # the guests'
        {"vlan": "100"},
        {"forvirtualnetwork": "false"},
    ],
)
async def test_a_public_range_is_checked_before_anything_is_made(
    desk: Desk, wrong: dict[str, str]
) -> None:
    zone = (await desk.ask("createZone", ADMIN, **ZONE))["zone"]["id"]
    await desk.refused("createVlanIpRange", ADMIN, **{"zoneid": zone, **PUBLIC, **wrong})
    assert await desk.store.find(Range, id=f"public:{zone}") == []


async def test_what_was_made_under_a_name_is_not_made_again(desk: Desk) -> None:
    """addTrafficType, addCluster and createVlanIpRange, each asked twice with the same key."""
    zone = (await desk.ask("createZone", ADMIN, **ZONE))["zone"]["id"]
    pod = (await desk.ask("createPod", zoneid=zone, name="rack"))["pod"]["id"]
    network = await made(desk, "createPhysicalNetwork", "physicalnetwork", zoneid=zone, name="core")
    asked = {
        "addTrafficType": {"physicalnetworkid": network["id"], "traffictype": "Guest"},
        "createVlanIpRange": {"zoneid": zone, **PUBLIC},
        "addCluster": {
            "zoneid": zone, "podid": pod, "clustername": "blue",
            "clustertype": "CloudManaged", "hypervisor": "KVM",
        },
    }  # fmt: skip
    for command, params in asked.items():
        received = {"command": command, "response": "json", **params}
        first, second = [
            await desk.api.answer(received, caller=ADMIN, key=f"k-{command}") for _ in range(2)
        ]
        assert first.status == second.status == 200, first.body
        assert first.body == second.body
