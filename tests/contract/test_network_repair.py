"""What becomes of the linux driver's routers: broken and mended, left, removed, on many hosts."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from csnode.faults import Conflict, Refused, Unavailable
from csnode.model.machine import GuestNetwork
from csnode.testing.network import guest_network, guest_nic
from csnode.testing.patience import patient
from roles.network.drivers import dnsmasq
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.namespace import PLACE
from roles.network.drivers.told import Told
from roles.network.host import HostNetwork
from tests.contract.netlab import OUTSIDE, Guest, Lab

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def lab() -> AsyncGenerator[Lab]:
    made = Lab()
    yield made
    await made.close()


def told_file(lab: Lab, network: GuestNetwork) -> Path:
    return Path(lab.seat.folder, network.network, "told.json")


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20])


def router_of(lab: Lab, network: GuestNetwork) -> Guest:
    return Guest(lab, f"{lab.names}r-{network.network[:8]}", "")


# -- what breaks ---------------------------------------------------------------------------


async def kill_dnsmasq(lab: Lab, network: GuestNetwork) -> None:
    """Answers once it has ended for good: a process loses its command line before its sockets."""
    folder = Path(lab.seat.folder, network.network, "dnsmasq")
    for daemon in dnsmasq.of_folder(dnsmasq.running(), folder):
        handle = os.pidfd_open(daemon.pid)
        os.kill(daemon.pid, signal.SIGKILL)
        ended, _, _ = await asyncio.to_thread(select.select, [handle], [], [], 10)
        os.close(handle)
        assert ended


async def links_gone(network: GuestNetwork) -> None:
    """The kernel takes a namespace apart, and the pairs that reach into it, after `ip` returned."""
    async with asyncio.timeout(patient(10)):
        while any(name.endswith(network.network[:8]) for name in await links()):
            await asyncio.sleep(0.05)


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
        guest = await lab.deploy(driver, network, nic)
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
        assert (await guest.get("/latest/user-data"))[0] == 200  # it still knows its gateway
        assert (await guest.dhcp())["ip"] == nic.address
        await lab.outside(f"{lab.names}pub0")
        assert await guest.get("/", OUTSIDE) == (200, network.public_address)


async def test_a_router_half_made_when_the_process_died_is_completed_by_the_role(
    lab: Lab,
) -> None:
    network = guest_network()
    nic = guest_nic(network)
    told = Told(Path(lab.seat.folder, network.network), network)
    told.keep_all(network)
    told.keep_nic(nic)
    await batch([f"netns add {router_of(lab, network).namespace}"])
    async with lab.driver() as driver:
        assert await driver.survey() == {}
        await HostNetwork(driver).repair()
        assert await driver.survey() == {network.network: (nic.nic,)}
        guest = await lab.guest((await driver.ensure_plug(network, nic)).bridge, nic)
        assert (await guest.dhcp())["ip"] == nic.address


async def test_a_router_from_before_the_host_started_is_left_to_the_rows(lab: Lab) -> None:
    """Its network may have a router elsewhere since: two would answer for one address."""
    network, kept = guest_network(1), guest_network(2)
    async with lab.driver() as driver:
        await driver.ensure_router(network)
        await driver.ensure_router(kept)
    await kill_dnsmasq(lab, network)
    await batch(
        [
            f"netns del {router_of(lab, network).namespace}",
            f"link del {lab.names}b{network.network[:8]}",
        ]
    )
    await links_gone(network)
    async with lab.driver() as driver:
        found = await HostNetwork(driver).repair()
        assert [each.network for each in found] == [kept.network]
        assert set(await driver.survey()) == {kept.network}
        await driver.ensure_router(network)
        assert set(await driver.survey()) == {network.network, kept.network}


async def test_what_nobody_told_of_is_found_by_its_name_and_can_be_removed(lab: Lab) -> None:
    names = lab.names
    await batch([f"netns add {names}r-0badcafe", f"link add {names}bdeadbeef type bridge"])
    async with lab.driver() as driver:
        bridge, router = sorted(await driver.inspect(), key=lambda found: found.trouble)
        assert (bridge.network, bridge.told, bridge.trouble) == ("deadbeef", None, "")
        assert (router.network, router.told) == ("0badcafe", None)
        assert "its namespace" in router.trouble
        for found in (bridge, router):
            await driver.ensure_no_router(found.network)
        assert await driver.inspect() == ()
    assert await lab.found() == set()


async def test_a_router_whose_file_is_damaged_is_found_whole_and_can_be_removed(lab: Lab) -> None:
    network, whole = guest_network(1), guest_network(2)
    async with lab.driver() as driver:
        await driver.ensure_router(whole)
        without = await lab.found()
        await driver.ensure_router(network)
    damage(told_file(lab, network))
    async with lab.driver() as driver:
        found = {each.network: each for each in await driver.inspect()}
        assert found.keys() == {network.network, whole.network}
        assert found[network.network].told is None
        for part in ("its namespace", "its links", "its dnsmasq", "its folder"):
            assert part in found[network.network].trouble
        await driver.ensure_no_router(network.network)
        assert [each.network for each in await driver.inspect()] == [whole.network]
    assert await lab.found() == without


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
        guest = await lab.deploy(driver, network, nic)
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
        guest = await lab.deploy(driver, one, nic)
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
        guest = await lab.deploy(first, network, nic)
        await guest.dhcp()
        with pytest.raises(Unavailable, match="in use"):  # the metadata's port
            await second.ensure_router(network)
        assert await first.survey() == {network.network: (nic.nic,)}
        assert (await guest.get("/latest/user-data"))[0] == 200


async def test_a_router_whose_files_were_deleted_is_written_anew(lab: Lab) -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
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
            guest = await lab.deploy(driver, network, nic)
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
    seat = Seat(id="h2", name="h2", address="169.254.77.2", folder=folder)
    async with LinuxNetwork({"names": names}, seat) as driver:
        await driver.reach(["169.254.77.1"])
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
            f"addr add 169.254.77.1/30 dev {link}",
            f"link set {link} up",
        ]
    )
    await batch(["addr add 169.254.77.2/30 dev eth0", "link set eth0 up"], namespace=host)
    lab.seat = replace(lab.seat, address="169.254.77.1")
    async with lab.driver() as driver:
        await driver.ensure_router(network)
        await driver.reach(["169.254.77.2"])
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
