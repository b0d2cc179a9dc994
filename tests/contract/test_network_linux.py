"""What the linux driver's routers do for real guests: DHCP, names, metadata, NAT, isolation."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from csnode.faults import Conflict, Refused, Unavailable
from csnode.model.machine import GuestNetwork, GuestNic
from csnode.testing.network import guest_network, guest_nic
from roles.network.drivers import dnsmasq
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.linux import LinuxNetwork
from roles.network.drivers.namespace import PLACE, change_settings, inside
from tests.contract.netlab import OUTSIDE, Guest, Lab

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def lab() -> AsyncGenerator[Lab]:
    made = Lab()
    yield made
    await made.close()


async def deployed(lab: Lab, driver: LinuxNetwork, nic: GuestNic, network: GuestNetwork) -> Guest:
    """A machine whose card the router knows, as a deploy makes it."""
    await driver.ensure_router(network)
    await driver.ensure_nic(nic)
    return await lab.guest((await driver.ensure_plug(network, nic)).bridge, nic)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, five seconds at most."""
    async with asyncio.timeout(5):
        while not await true():  # noqa: ASYNC110 (what we wait for tells nobody)
            await asyncio.sleep(0.02)


def told_file(lab: Lab, network: GuestNetwork) -> Path:
    return Path(lab.seat.folder, network.network, "told.json")


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20])


def router_of(lab: Lab, network: GuestNetwork) -> Guest:
    return Guest(lab, f"{lab.names}r-{network.network[:8]}", "")


# -- DHCP and names ------------------------------------------------------------------------


async def test_a_guest_is_leased_all_it_needs(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, nic, network)
        leased = await guest.dhcp()
        assert leased["ip"] == nic.address
        assert leased["subnet"] == "255.255.255.0"
        assert leased["router"] == leased["dns"] == leased["serverid"] == network.gateway
        assert leased["mtu"] == "1450"
        assert leased["domain"] == network.domain
        assert leased["hostname"] == nic.hostname
        assert await guest.pings(network.gateway)


@pytest.mark.parametrize("hostname", ["12h", "45", "infinite", "ignore", "Web-1"])
async def test_a_host_name_means_nothing_else_to_dnsmasq(lab: Lab, hostname: str) -> None:
    network = guest_network()
    nic = replace(guest_nic(network), hostname=hostname)
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, nic, network)
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
        guest = await deployed(lab, driver, nic, network)
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
        first = await deployed(lab, driver, nic, network)
        assert (await first.dhcp())["ip"] == nic.address
        await driver.ensure_no_nic(network.network, nic.nic)
        second = await deployed(lab, driver, heir, network)
        assert (await second.dhcp())["ip"] == nic.address
        assert await first.dhcp() == {}


async def test_a_changed_card_is_leased_its_new_address(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, nic, network)
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
        guests = [await deployed(lab, driver, n, network) for n in (nic, other)]
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
        guest = await deployed(lab, driver, nic, network)
        await guest.dhcp()
        assert (await guest.get("/latest/user-data"))[0] == 200
        await driver.ensure_no_nic(network.network, nic.nic)
        assert await guest.get("/latest/user-data") == (404, "")
        assert await guest.get("/", port=8080) == (404, "")


async def test_the_password_server_has_none_to_give(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, guest_nic(network), network)
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
        guest = await deployed(lab, driver, guest_nic(network), network)
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
        guests = [await deployed(lab, driver, guest_nic(n), n) for n in (one, two)]
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
        guest = await deployed(lab, driver, guest_nic(network), network)
        await guest.dhcp()
        assert (await guest.get("/latest/user-data"))[0] == 200
        assert f"{lab.names}pub0" not in await links()
        assert list(await driver.survey()) == [network.network]


async def test_a_moved_public_address_is_the_new_routers_at_once(lab: Lab) -> None:
    one, two = guest_network(1), guest_network(2)
    heir = replace(two, public_address=one.public_address)
    async with lab.driver() as driver:
        first, second = [await deployed(lab, driver, guest_nic(n), n) for n in (one, two)]
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
    network = guest_network()
    up, table = f"{lab.names}up", f"{lab.names}pub0_uplink"
    forwarding = await run("sysctl", "-n", "net.ipv4.ip_forward")
    async with lab.driver(uplink=up) as driver:
        internet = Guest(lab, f"{lab.names}inet", "")
        await batch(
            [
                f"netns add {internet.namespace}",
                f"link add {up} type veth peer name eth0 netns {internet.namespace}",
                f"addr add 203.0.113.1/24 dev {up}",
                f"link set {up} up",
            ]
        )
        lines = ["addr add 203.0.113.9/24 dev eth0", "link set eth0 up"]
        await batch(lines, namespace=internet.namespace)
        await internet.serve("203.0.113.9")
        try:
            guest = await deployed(lab, driver, guest_nic(network), network)
            await guest.dhcp()
            assert await guest.get("/", "203.0.113.9") == (200, "203.0.113.1")
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
        first = await deployed(lab, driver, mine, one)
        second = await deployed(lab, driver, theirs, two)
        third = await deployed(lab, driver, neighbour, two)
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
        guest = await deployed(lab, driver, guest_nic(network), network)
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


# -- what breaks ---------------------------------------------------------------------------


async def kill_dnsmasq(lab: Lab, network: GuestNetwork) -> None:
    folder = Path(lab.seat.folder, network.network, "dnsmasq")
    for daemon in dnsmasq.of_folder(dnsmasq.running(), folder):
        os.kill(daemon.pid, signal.SIGKILL)

    async def ended() -> bool:
        return not dnsmasq.of_folder(dnsmasq.running(), folder)

    await until(ended)


CUTS = {
    "no namespace": ["ip", "netns", "del", "{router}"],
    "no rules": ["ip", "netns", "exec", "{router}", "nft", "flush", "ruleset"],
    "one rule more": [
        "ip", "netns", "exec", "{router}",
        "nft", "insert rule inet router c_forward accept",
    ],
    "no guest link": ["ip", "link", "del", "{names}g{short}"],
    "a guest link pulled out": ["ip", "link", "set", "{names}g{short}", "nomaster"],
    "a public link switched off": ["ip", "link", "set", "{names}p{short}", "down"],
    "no public bridge": ["ip", "link", "del", "{names}pub0"],
    "no address": ["ip", "-n", "{router}", "addr", "flush", "dev", "eth0"],
    "no route": ["ip", "-n", "{router}", "route", "del", "default"],
    "no forwarding": ["ip", "netns", "exec", "{router}", "sysctl", "-qw", "net.ipv4.ip_forward=0"],
    "no dnsmasq": [],
}  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
async def test_a_router_that_broke_is_seen_and_mended(lab: Lab, cut: str) -> None:
    network, whole = guest_network(1), guest_network(2)
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, nic, network)
        await driver.ensure_router(whole)
        assert (await guest.dhcp())["ip"] == nic.address
        places = {"names": lab.names, "short": network.network[:8]}
        places["router"] = router_of(lab, network).namespace
        if CUTS[cut]:
            await run(*(word.format(**places) for word in CUTS[cut]))
        else:
            await kill_dnsmasq(lab, network)
        assert network.network not in await driver.survey()
        for told in driver.told().values():
            await driver.ensure_router(told)
        assert await driver.survey() == {network.network: (nic.nic,), whole.network: ()}
        assert (await guest.dhcp())["ip"] == nic.address
        assert (await guest.get("/latest/user-data"))[0] == 200
        await lab.outside(f"{lab.names}pub0")
        assert await guest.get("/", OUTSIDE) == (200, network.public_address)


async def test_mending_rules_leaves_the_rest_alone(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        await driver.ensure_router(network)
        before = await lab.found()
        await router_of(lab, network).run("nft", "flush", "ruleset")
        await driver.ensure_router(network)
        assert await lab.found() == before


async def test_guests_go_on_without_the_driver_and_metadata_comes_back_with_it(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, nic, network)
        outside = await lab.outside(f"{lab.names}pub0")
        before = await lab.found()
    assert (await guest.dhcp())["ip"] == nic.address
    assert await guest.resolve("web-1") == nic.address
    assert await guest.get("/", OUTSIDE) == (200, network.public_address)
    assert await guest.get("/latest/user-data") == (0, "")
    async with lab.driver() as driver:
        assert (await guest.get("/latest/user-data"))[0] == 200
        assert await driver.survey() == {network.network: (nic.nic,)}
        leases = {f"file {Path(lab.seat.folder, network.network, 'dnsmasq', 'leases')}"}
        assert await lab.found() - leases == before - leases
    assert outside.namespace in {place.name for place in PLACE.iterdir()}


# -- what is left --------------------------------------------------------------------------


async def test_nothing_is_left_of_a_network_that_went(lab: Lab) -> None:
    one, two = guest_network(1), guest_network(2)
    nic = guest_nic(one)
    async with lab.driver() as driver:
        before = await lab.found()
        await driver.ensure_router(two)
        other = await lab.found()
        guest = await deployed(lab, driver, nic, one)
        await guest.dhcp()
        with pytest.raises(Conflict):
            await driver.ensure_no_router(one.network)
        await batch([f"link del {guest.namespace}", f"netns del {guest.namespace}"])
        await driver.ensure_no_router(one.network)
        assert await lab.found() == other
        assert list(await driver.survey()) == [two.network]
        await driver.ensure_no_router(two.network)
        assert await lab.found() == before


async def test_a_router_that_cannot_be_built_leaves_nothing(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver(make_public=False) as driver:
        before = await lab.found()
        with pytest.raises(Refused, match=f"{lab.names}pub0"):
            await driver.ensure_router(network)
        assert await lab.found() == before
        assert driver.told() == {}
        await batch([f"link add {lab.names}pub0 type bridge", f"link set {lab.names}pub0 up"])
        await driver.ensure_router(network)
        await driver.ensure_no_router(network.network)
        assert await lab.found() == before | {f"link {lab.names}pub0"}


async def test_a_second_process_at_the_host_takes_nothing_from_the_first(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as first, lab.driver() as second:
        guest = await deployed(lab, first, nic, network)
        await guest.dhcp()
        with pytest.raises(Unavailable, match="in use"):  # the metadata's port
            await second.ensure_router(network)
        assert await first.survey() == {network.network: (nic.nic,)}
        assert (await guest.get("/latest/user-data"))[0] == 200


async def test_a_router_whose_files_were_deleted_is_written_anew(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await deployed(lab, driver, nic, network)
        shutil.rmtree(Path(lab.seat.folder, network.network))
        await kill_dnsmasq(lab, network)
        await driver.ensure_router(network)
        assert (await guest.dhcp())["ip"] == nic.address
    async with lab.driver() as driver:
        assert await driver.survey() == {network.network: (nic.nic,)}


async def test_what_was_written_badly_counts_as_never_told(lab: Lab) -> None:
    network, whole = guest_network(1), guest_network(2)
    async with lab.driver() as driver:
        for told in (network, whole):
            await driver.ensure_router(told)
    damage(told_file(lab, network))
    async with lab.driver() as driver:
        assert list(await driver.survey()) == [whole.network]
        await driver.ensure_router(network)
        assert set(await driver.survey()) == {network.network, whole.network}
    os.unlink(told_file(lab, network))
    async with lab.driver() as driver:
        for told in (network, whole):
            await driver.ensure_no_router(told.network)
        assert await lab.found() == set()


async def test_a_missing_tool_is_named_with_its_package(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match=r"nft.*apt-get install dnsmasq-base iproute2 nftables"):
        async with lab.driver():
            pass


async def test_a_folder_that_dnsmasq_cannot_pass_is_named(lab: Lab) -> None:
    lab.folder.chmod(0o700)
    with pytest.raises(Refused, match=rf"chmod o\+x {lab.folder}"):
        async with lab.driver():
            pass


async def test_a_closed_umask_does_not_keep_guests_from_their_leases(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    before = os.umask(0o077)
    try:
        async with lab.driver() as driver:
            guest = await deployed(lab, driver, nic, network)
            assert (await guest.dhcp())["ip"] == nic.address
    finally:
        os.umask(before)
    user_data = Path(lab.seat.folder, network.network, "nics", f"{nic.nic}.json")
    assert os.stat(user_data).st_mode & 0o077 == 0


async def test_many_networks_come_and_go_at_once(lab: Lab) -> None:
    networks = [guest_network(number) for number in range(1, 9)]
    async with lab.driver() as driver:
        for _ in range(2):
            await asyncio.gather(*(driver.ensure_router(n) for n in networks))
            assert set(await driver.survey()) == {n.network for n in networks}
            await asyncio.gather(
                *(driver.ensure_no_router(n.network) for n in networks[1:]),
                driver.ensure_router(networks[0]),
            )
            assert list(await driver.survey()) == [networks[0].network]
        await driver.ensure_no_router(networks[0].network)
        assert await lab.found() == set()


# -- several hosts -------------------------------------------------------------------------

OTHER_HOST = """
import asyncio, sys, msgspec
from csnode.drivers.driver import Seat
from csnode.model.machine import GuestNetwork, GuestNic
from roles.network.drivers.linux import LinuxNetwork

async def main(names, folder, network, nic):
    seat = Seat(id="h2", name="h2", address="192.0.2.2", folder=folder)
    options = {"names": names, "vxlan_local": "192.0.2.2", "vxlan_peers": ["192.0.2.1"]}
    async with LinuxNetwork(options, seat) as driver:
        network = msgspec.json.decode(network, type=GuestNetwork)
        print((await driver.ensure_plug(network, msgspec.json.decode(nic, type=GuestNic))).bridge)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_guest_on_another_host_has_the_same_router(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    host, link = f"{lab.names}h2", f"{lab.names}h2"
    await batch(
        [
            f"netns add {host}",
            f"link add {link} type veth peer name eth0 netns {host}",
            f"addr add 192.0.2.1/30 dev {link}",
            f"link set {link} up",
        ]
    )
    await batch(["addr add 192.0.2.2/30 dev eth0", "link set eth0 up"], namespace=host)
    async with lab.driver(vxlan_local="192.0.2.1", vxlan_peers=["192.0.2.2"]) as driver:
        await driver.ensure_router(network)
        await driver.ensure_nic(nic)
        told = [msgspec.json.encode(part).decode() for part in (network, nic)]
        command = [sys.executable, "-c", OTHER_HOST, lab.names, f"{lab.folder}/h2", *told]
        bridge = (await run("ip", "netns", "exec", host, *command)).strip()
        guest = await lab.guest(bridge, nic, host=host)
        assert (await guest.dhcp())["ip"] == nic.address
        assert await guest.get("/latest/meta-data/instance-id") == (200, "i-1")
        assert await driver.survey() == {network.network: (nic.nic,)}
        await driver.ensure_no_router(network.network)
        assert {f"link {link}"} == {n for n in await lab.found() if n.startswith("link")}
