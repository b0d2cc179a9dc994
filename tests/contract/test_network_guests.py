"""What the linux driver's routers do for real guests: DHCP, names, metadata, NAT, isolation."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from csnode.model.machine import GuestNetwork
from csnode.testing.network import guest_network, guest_nic
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.namespace import change_settings, inside
from tests.contract.netlab import OUTSIDE, Guest, Lab, until

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def lab() -> AsyncGenerator[Lab]:
    made = Lab()
    yield made
    await made.close()


# -- DHCP and names ------------------------------------------------------------------------


async def test_a_guest_is_leased_all_it_needs(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        leased = await guest.dhcp()
        assert leased["ip"] == nic.address
        assert leased["subnet"] == "255.255.255.0"
        assert leased["router"] == leased["dns"] == leased["serverid"] == network.gateway
        assert leased["mtu"] == "1450"
        assert leased["domain"] == network.domain
        assert leased["hostname"] == nic.hostname
        assert await guest.pings(network.gateway)


@pytest.mark.parametrize("hostname", ["infinite", "ignore", "set", "Web-1"])
async def test_a_host_name_means_nothing_else_to_dnsmasq(lab: Lab, hostname: str) -> None:
    network = guest_network()
    nic = replace(guest_nic(network), hostname=hostname)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        leased = await guest.dhcp()
        assert (leased["ip"], leased["hostname"]) == (nic.address, hostname.lower())
        assert leased["lease"] == str(12 * 3600)
        assert await guest.resolve(f"{hostname}.{network.domain}") == nic.address


async def test_a_stranger_is_leased_nothing(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        await driver.ensure_router(network)
        plug = await driver.ensure_plug(network, guest_nic(network))
        guest = await lab.guest(plug.bridge, guest_nic(network))
        assert await guest.dhcp() == {}


async def test_names_are_ours_and_not_what_a_guest_says(lab: Lab) -> None:
    network = guest_network()
    nic, other = guest_nic(network, 1), guest_nic(network, 2)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        await driver.ensure_nic(other)
        assert (await guest.dhcp("-x", "hostname:wpad"))["ip"] == nic.address
        assert await guest.resolve("web-2") == other.address
        assert await guest.resolve("web-2.cs1cloud.internal") == other.address
        assert await guest.resolve("data-server") == network.gateway
        assert await guest.resolve("wpad") == ""
        assert await guest.resolve("wpad.cs1cloud.internal") == ""
        await driver.ensure_no_nic(network.network, other.nic)
        await gone(guest, "web-2")
        assert await guest.resolve("web-1") == nic.address


async def gone(guest: Guest, name: str) -> None:
    """A name is gone a moment after the verb: dnsmasq reads its files again by itself."""

    async def unknown() -> bool:
        return not await guest.resolve(name)

    await until(unknown)


async def test_an_address_set_free_goes_to_the_next_card(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network, 1)
    heir = replace(guest_nic(network, 2), address=nic.address)
    async with lab.driver() as driver:
        first = await lab.deploy(driver, network, nic)
        assert (await first.dhcp())["ip"] == nic.address
        leases = f"{lab.seat.folder}/{network.network}/dnsmasq/leases"
        assert nic.address in await run("cat", leases)
        await driver.ensure_no_nic(network.network, nic.nic)
        assert nic.address not in await run("cat", leases)
        assert await first.dhcp() == {}
        second = await lab.deploy(driver, network, heir)
        assert (await second.dhcp())["ip"] == nic.address


async def test_a_changed_card_is_leased_its_new_address(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        assert (await guest.dhcp())["ip"] == nic.address
        await driver.ensure_nic(replace(nic, address="10.1.1.77", hostname="db"))
        await gone(guest, "web-1")
        leased = await guest.dhcp()
        assert (leased["ip"], leased["hostname"]) == ("10.1.1.77", "db")


# -- metadata ------------------------------------------------------------------------------


async def test_a_guest_reads_its_own_metadata_and_nobody_elses(lab: Lab) -> None:
    network = guest_network()
    nic, other = guest_nic(network, 1), guest_nic(network, 2)
    async with lab.driver() as driver:
        guests = [await lab.deploy(driver, network, n) for n in (nic, other)]
        for number, guest in enumerate(guests, 1):
            await guest.dhcp()
            assert await guest.get("/latest/meta-data/") == (200, "instance-id\nlocal-hostname")
            assert await guest.get("/latest/meta-data/instance-id") == (200, f"i-{number}")
            assert await guest.get("/latest/local-hostname") == (200, f"web-{number}")
            user_data = f"#!/bin/sh\necho {number}\n"
            assert await guest.get("/latest/user-data") == (200, user_data)
        for path in ("/", "/latest/meta-data/none", f"/latest/meta-data/{other.nic}", "/../told"):
            assert (await guests[0].get(path))[0] == 404
        claim = {"X-Forwarded-For": other.address, "Host": other.address}
        mine = await guests[0].get("/latest/meta-data/instance-id", headers=claim)
        assert mine == (200, "i-1")


async def test_an_address_without_a_card_reads_nothing(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        await guest.dhcp()
        assert (await guest.get("/latest/user-data"))[0] == 200
        await driver.ensure_no_nic(network.network, nic.nic)
        assert await guest.get("/latest/user-data") == (404, "")
        assert await guest.get("/", port=8080) == (404, "")


async def test_the_password_server_has_none_to_give(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network))
        await guest.dhcp()
        for asked in ("send_my_password", "saved_password"):
            headers = {"DomU_Request": asked}
            said = await guest.get("/", port=8080, headers=headers)
            assert said == (200, "saved_password")
        assert await guest.get("/", port=8080) == (200, "bad_request")
        assert (await guest.get("/latest/user-data", method="POST"))[0] == 405
        assert await guest.get("/latest/user-data", method="HEAD") == (200, "")


async def test_a_request_without_end_is_hung_up_on_and_others_are_answered(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network))
        await guest.dhcp()
        assert (await guest.get("/latest/" + "x" * 9000))[0] == 0
        idle = [await connection(guest, network) for _ in range(16)]
        assert (await guest.get("/latest/user-data"))[0] == 0
        for writer in idle:
            writer.close()
            await writer.wait_closed()

        async def answered() -> bool:
            return (await guest.get("/latest/user-data"))[0] == 200

        await until(answered)


async def connection(guest: Guest, network: GuestNetwork) -> asyncio.StreamWriter:
    made = await inside(
        guest.namespace, lambda: socket.create_connection((network.gateway, 80), timeout=5)
    )
    return (await asyncio.open_connection(sock=made))[1]


# -- the public side -----------------------------------------------------------------------


async def test_a_guest_is_seen_outside_as_the_public_address(lab: Lab) -> None:
    one, two = guest_network(1), guest_network(2)
    async with lab.driver() as driver:
        guests = [await lab.deploy(driver, n, guest_nic(n)) for n in (one, two)]
        outside = await lab.outside(f"{lab.names}pub0")
        for network, guest in zip((one, two), guests, strict=True):
            assert (await guest.dhcp())["ip"] == "10.1.1.51"
            assert await guest.get("/", OUTSIDE) == (200, network.public_address)
        await outside.run("ip", "route", "add", "10.1.1.0/24", "via", one.public_address)
        targets = (one.public_address, one.gateway, "10.1.1.51")
        answers = await asyncio.gather(
            *(outside.get("/", target, port) for target in targets for port in (53, 80, 8080))
        )
        assert answers == [(0, "")] * 9
        pings = await asyncio.gather(*(outside.pings(target) for target in targets))
        assert pings == [False] * 3


async def test_a_network_without_a_public_address_stays_inside(lab: Lab) -> None:
    network = replace(guest_network(), public_address="", public_cidr="", public_gateway="")
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network))
        await guest.dhcp()
        assert (await guest.get("/latest/user-data"))[0] == 200
        assert f"{lab.names}pub0" not in await links()
        assert list(await driver.survey()) == [network.network]


async def test_a_moved_public_address_is_the_new_routers_at_once(lab: Lab) -> None:
    one, two = guest_network(1), guest_network(2)
    heir = replace(two, public_address=one.public_address)
    async with lab.driver() as driver:
        first, second = [await lab.deploy(driver, n, guest_nic(n)) for n in (one, two)]
        await lab.outside(f"{lab.names}pub0")
        await first.dhcp()
        assert await first.get("/", OUTSIDE) == (200, one.public_address)
        await first.run("ip", "link", "set", "eth0", "down")
        await batch([f"link del {first.namespace}"])
        await driver.ensure_no_router(one.network)
        await driver.ensure_router(heir)
        await second.dhcp()
        assert await second.get("/", OUTSIDE) == (200, one.public_address)


async def test_an_uplink_lets_the_public_side_out(lab: Lab) -> None:
    network = replace(  # a range of our own: the host routes it, and may have the usual one
        guest_network(),
        public_address="198.18.77.10",
        public_cidr="198.18.77.0/24",
        public_gateway="198.18.77.1",
    )
    up, table = f"{lab.names}up", f"{lab.names}pub0_uplink"
    forwarding = await run("sysctl", "-n", "net.ipv4.ip_forward")
    async with lab.driver(uplink=up) as driver:
        internet = Guest(lab, f"{lab.names}inet", "")
        await batch(
            [
                f"netns add {internet.namespace}",
                f"link add {up} type veth peer name eth0 netns {internet.namespace}",
                f"addr add 198.18.9.1/24 dev {up}",
                f"link set {up} up",
            ]
        )
        lines = ["addr add 198.18.9.9/24 dev eth0", "link set eth0 up"]
        await batch(lines, namespace=internet.namespace)
        await internet.serve("198.18.9.9")
        try:
            guest = await lab.deploy(driver, network, guest_nic(network))
            await guest.dhcp()
            assert await guest.get("/", "198.18.9.9") == (200, "198.18.9.1")
            assert table in await run("nft", "list", "tables")
            await batch([f"link del {guest.namespace}"])
            await driver.ensure_no_router(network.network)
            assert table not in await run("nft", "list", "tables")
        finally:
            change_settings({"net/ipv4/ip_forward": forwarding})
            await run("nft", "-f", "-", text=f"table ip {table} {{}}\ndelete table ip {table}\n")


# -- walls ---------------------------------------------------------------------------------


async def test_two_networks_with_the_same_addresses_are_apart(lab: Lab) -> None:
    one, two = guest_network(1), guest_network(2)
    mine, theirs = guest_nic(one, 1), guest_nic(two, 1)
    neighbour = guest_nic(two, 2)
    async with lab.driver() as driver:
        first = await lab.deploy(driver, one, mine)
        second = await lab.deploy(driver, two, theirs)
        third = await lab.deploy(driver, two, neighbour)
        for guest in (first, second, third):
            await guest.dhcp()
        assert await second.hears(neighbour.address)
        assert not await first.hears(neighbour.address)
        assert await second.resolve("web-2") == neighbour.address
        assert await first.resolve("web-2") == ""
        await driver.ensure_no_nic(one.network, mine.nic)
        assert (await first.get("/latest/user-data"))[0] == 404
        assert (await second.get("/latest/user-data"))[0] == 200


async def test_a_guest_cannot_reach_the_host_through_the_bridge(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network))
        await guest.dhcp()
        bridge = f"{lab.names}b{network.network[:8]}"
        await lab.answer_at(network.public_gateway, 8123)
        assert not await guest.hears(network.public_gateway)
        mac = (await run("cat", f"/sys/class/net/{bridge}/address")).strip()
        await guest.run("ip", "route", "add", network.public_gateway, "dev", "eth0")
        await guest.run("ip", "neigh", "add", network.public_gateway, "lladdr", mac, "dev", "eth0")
        assert await guest.get("/", network.public_gateway, 8123) == (0, "")
        wall = f"net/ipv4/conf/{bridge}/"
        await run("ip", "route", "add", "10.1.1.51", "dev", bridge)
        change_settings({f"{wall}rp_filter": "0"})
        assert await guest.get("/", network.public_gateway, 8123) == (200, "10.1.1.51")
