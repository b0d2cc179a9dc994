"""createNetwork, listNetworks, deleteNetwork."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.job import Job
from csnode.model.network import Network
from csnode.model.place import Zone
from csnode.model.stock import Range, Taken
from csnode.types import HostId
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, Desk

NET = seeds.uuid(500)
FRONT = {"name": "front", "zoneid": seeds.ZONE, "networkofferingid": seeds.NET_OFFERING}


async def test_a_network_takes_its_vni_and_address(desk: Desk) -> None:
    network = (await desk.ask("createNetwork", ALICE, **FRONT))["network"]
    assert (network["state"], network["type"], network["account"]) == (
        "Allocated", "Isolated", "alice")  # fmt: skip
    assert (network["cidr"], network["gateway"], network["netmask"]) == (
        "10.1.1.0/24", "10.1.1.1", "255.255.255.0")  # fmt: skip
    assert network["networkdomain"].endswith(".cloud.internal")
    assert "vlan" not in network
    row = await desk.store.get(Network, network["id"])
    assert (row.vni, row.public_address) == (1000, "198.51.100.2")
    addresses = await desk.store.get(Range, f"guest:{row.id}")
    assert (addresses.low, addresses.high, addresses.form) == (0x0A010102, 0x0A0101FE, "ipv4")
    assert await desk.store.find(Job) == []
    (seen,) = (await desk.ask("listNetworks", ADMIN, id=row.id))["network"]
    assert (seen["vlan"], seen["broadcasturi"]) == ("1000", "vxlan://1000")
    assert {s["name"] for s in seen["service"]} == {"Dhcp", "Dns", "SourceNat", "UserData"}


@pytest.mark.parametrize(
    ("params", "cidr", "low", "high"),
    [
        ({"gateway": "10.9.0.1", "netmask": "255.255.0.0"}, "10.9.0.0/16", "10.9.0.2",
         "10.9.255.254"),
        ({"gateway": "10.9.0.6", "netmask": "255.255.255.248"}, "10.9.0.0/29", "10.9.0.1",
         "10.9.0.5"),
        ({"gateway": "10.9.0.1", "netmask": "255.255.255.0", "startip": "10.9.0.10",
          "endip": "10.9.0.20"}, "10.9.0.0/24", "10.9.0.10", "10.9.0.20"),
    ],
)  # fmt: skip
async def test_addresses_may_be_chosen(
    desk: Desk, params: dict[str, str], cidr: str, low: str, high: str
) -> None:
    from ipaddress import IPv4Address

    network = (await desk.ask("createNetwork", ALICE, **FRONT, **params))["network"]
    assert network["cidr"] == cidr
    addresses = await desk.store.get(Range, f"guest:{network['id']}")
    assert (addresses.low, addresses.high) == (int(IPv4Address(low)), int(IPv4Address(high)))


async def test_a_gateway_in_the_middle_is_no_machines(desk: Desk) -> None:
    params = {"gateway": "10.9.0.3", "netmask": "255.255.255.248"}
    network = (await desk.ask("createNetwork", ALICE, **FRONT, **params))["network"]
    taken = await desk.store.find(Taken, range=f"guest:{network['id']}")
    assert [(t.value & 255, t.owner) for t in taken] == [(3, network["id"])]


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"gateway": "10.9.0.1"}, 431, "gateway and netmask must be given together"),
        ({"gateway": "10.9.0.1", "netmask": "24"}, 431, "are no network"),
        ({"gateway": "10.9.0.1", "netmask": "0.0.0.255"}, 431, "are no network"),
        ({"gateway": "10.9.0.1", "netmask": "255.0.0.0"}, 431, "must be of a /16 to a /29"),
        ({"gateway": "ten", "netmask": "255.255.255.0"}, 431, "are no network"),
        ({"gateway": "10.9.0.1", "netmask": "255.0.255.0"}, 431, "are no network"),
        ({"gateway": "10.9.0.0", "netmask": "255.255.255.0"}, 431, "is not an address"),
        ({"gateway": "10.9.0.1", "netmask": "255.255.255.254"}, 431, "must be of a /16 to"),
        ({"gateway": "127.0.0.1", "netmask": "255.255.255.0"}, 431, "must be private"),
        ({"gateway": "0.0.0.1", "netmask": "255.255.255.0"}, 431, "must be private"),
        ({"gateway": "8.8.8.1", "netmask": "255.255.255.0"}, 431, "must be private"),
        ({"gateway": "172.32.0.1", "netmask": "255.255.255.0"}, 431, "must be private"),
        ({"gateway": "198.51.100.1", "netmask": "255.255.255.0"}, 431, "must be private"),
        ({"gateway": "10.9.0.1", "netmask": "255.255.255.0", "startip": "10.9.0.1"}, 431,
         "leave no address"),
        ({"startip": "10.1.1.9"}, 431, "startip and endip need gateway and netmask"),
        ({"gateway": "10.9.0.1", "netmask": "255.255.255.0", "startip": "10.9.1.1"}, 431,
         "startip 10.9.1.1 is not between"),
        ({"gateway": "10.9.0.1", "netmask": "255.255.255.0", "startip": "10.9.0.9",
          "endip": "10.9.0.8"}, 431, "lies behind"),
        ({"networkofferingid": seeds.uuid(999)}, 431, "Invalid parameter networkofferingid"),
        ({"name": ""}, 431, "due to missing parameter name"),
        ({"networkdomain": "a b"}, 431, "Invalid network domain."),
        ({"networkdomain": "corp.test\naddress=/#/192.0.2.1"}, 431, "Invalid network domain."),
        ({"networkdomain": f"{'a' * 64}.test"}, 431, "Invalid network domain."),
        ({"networkdomain": ".".join(["abcd"] * 40)}, 431, "Invalid network domain."),
        ({"vpcid": seeds.uuid(999)}, 431, "Invalid parameter vpcid"),
        ({"account": "bob", "domainid": seeds.OTHER}, 531, "does not have permission"),
        ({"domainid": seeds.OTHER}, 431, "domainid needs account"),
    ],
)  # fmt: skip
async def test_a_network_that_cannot_be_is_refused(
    desk: Desk, params: dict[str, str], code: int, text: str
) -> None:
    body = await desk.refused("createNetwork", ALICE, **FRONT | params)
    assert (body["errorcode"], text in body["errortext"]) == (code, True), body["errortext"]
    assert await desk.store.find(Network) == []
    assert await desk.store.find(Taken) == []


async def test_a_persistent_network_is_built_at_once(desk: Desk) -> None:
    params = FRONT | {"networkofferingid": seeds.PERSISTENT}
    network = (await desk.ask("createNetwork", ALICE, **params))["network"]
    (job,) = await desk.store.find(Job)
    assert (job.verb, job.object_id) == ("implement_network", network["id"])
    assert (network["state"], network["jobid"]) == ("Implementing", job.id)
    assert (await desk.store.get(Network, network["id"])).public_address == ""


async def test_the_state_is_that_of_its_router(desk: Desk) -> None:
    await desk.plant(seeds.network(NET))

    async def state() -> Any:
        return (await desk.ask("listNetworks", ALICE))["network"][0]["state"]

    assert await state() == "Allocated"
    await desk.observe(Network, NET, "orchestrator", router=HostId(seeds.HOST))
    assert await state() == "Implementing"
    await desk.observe(Network, NET, "orchestrator", up=True)
    assert await state() == "Implemented"
    await desk.ask("deleteNetwork", ALICE, id=NET)
    assert await state() == "Shutdown"


async def test_a_network_with_machines_stays(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    body = await desk.refused("deleteNetwork", ALICE, id=NET)
    assert body["errortext"].endswith("not all user vms are expunged: web1")
    assert not (await desk.store.get(Network, NET)).gone


async def test_deleting_orders_the_shutdown(desk: Desk) -> None:
    await desk.plant(seeds.network(NET))
    answer = await desk.ask("deleteNetwork", ALICE, id=NET)
    job = await desk.store.get(Job, answer["jobid"])
    assert (job.verb, job.order) == ("shutdown_network", {"network": NET, "remove": True})
    assert (await desk.store.get(Network, NET)).gone
    body = await desk.refused("deleteNetwork", BOB, id=NET)
    assert "entity does not exist" in body["errortext"]


async def test_a_zone_without_public_addresses_says_so(desk: Desk) -> None:
    change = desk.store.change()
    change.delete(Range, f"public:{seeds.ZONE}")
    await change.commit()
    body = await desk.refused("createNetwork", ADMIN, **FRONT)
    assert (body["errorcode"], body["cserrorcode"]) == (533, 4320)
    assert body["errortext"] == "the zone zone1 has no public addresses"


async def test_a_network_over_its_zones_public_range_is_refused(desk: Desk) -> None:
    change = desk.store.change()
    change.update(Zone, seeds.ZONE, public_cidr="10.8.0.0/14", public_gateway="10.8.0.1")
    await change.commit()
    params = {"gateway": "10.9.0.1", "netmask": "255.255.255.0"}
    body = await desk.refused("createNetwork", ALICE, **FRONT, **params)
    assert "overlaps the zone's public range 10.8.0.0/14" in body["errortext"]
    await desk.ask("createNetwork", ALICE, **FRONT)
