"""What a guest's packet meets on its way through a host: sizes, and rules that others made."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from csnode.testing.network import guest_network, guest_nic
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.namespace import PLACE, inside
from tests.contract.netlab import Guest, Lab

pytestmark = pytest.mark.real
HERE, THERE = "169.254.78.1", "169.254.78.2"
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3  # linux/in.h: never in pieces, whatever was learned


@pytest_asyncio.fixture
async def lab() -> AsyncGenerator[Lab]:
    made = Lab()
    yield made
    await made.close()


async def underlay(lab: Lab, mtu: int) -> str:
    """A link to other hosts that carries so much; this host's address is on it."""
    link = f"{lab.names}u1"
    await batch(
        [
            f"link add {link} mtu {mtu} type veth peer name {link}-",
            f"link set {link}- mtu {mtu} up",
            f"addr add {HERE}/30 dev {link}",
            f"link set {link} up",
        ]
    )
    lab.seat = replace(lab.seat, address=HERE)
    return link


async def sizes(lab: Lab, network: str) -> set[int]:
    """The MTUs of the network's links on the host."""
    found = await links()
    return {found[f"{lab.names}{what}{network[:8]}"].mtu for what in "bgx"}


async def arrives(sender: Guest, receiver: Guest, address: str, size: int) -> bool:
    """Whether a whole IPv4 packet of that size arrives."""

    def bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 7))
        sock.settimeout(2)
        return sock

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            sock.sendto(bytes(size - 28), (address, 7))

    with await inside(receiver.namespace, bound) as sock:
        await inside(sender.namespace, send)
        try:
            return len(sock.recv(65535)) == size - 28
        except TimeoutError:
            return False


@pytest.mark.parametrize(
    ("carries", "most", "guests"), [(1400, 1450, 1350), (9000, 1450, 1450), (9000, 8950, 8950)]
)
async def test_guests_are_told_what_the_underlay_carries(
    lab: Lab, carries: int, most: int, guests: int
) -> None:
    await underlay(lab, carries)
    network = guest_network()
    nic = guest_nic(network)
    async with lab.driver(mtu=most) as driver:
        await driver.ensure_router(network)
        await driver.ensure_nic(nic)
        plug = await driver.ensure_plug(network, nic)
        guest = await lab.guest(plug.bridge, nic)
        assert plug.mtu == guests
        assert (await guest.dhcp())["mtu"] == str(guests)
        assert await sizes(lab, network.network) == {guests}
        (found,) = await driver.inspect()
        assert (found.mtu, found.trouble) == (guests, "")


async def test_a_router_follows_an_underlay_that_changed(lab: Lab) -> None:
    link = await underlay(lab, 1500)
    network = guest_network()
    nic, other = guest_nic(network, 1), guest_nic(network, 2)
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        assert (await guest.dhcp())["mtu"] == "1450"
        await batch([f"link set {link} mtu 1300"])
        (found,) = await driver.inspect()
        assert found.trouble == "not as told: dnsmasq, mtu"
        await driver.ensure_router(network)
        assert (await driver.inspect())[0].trouble == ""
        assert (await guest.dhcp())["mtu"] == "1250"
        second = await lab.deploy(driver, network, other)
        assert (await second.dhcp())["mtu"] == "1250"
        assert await arrives(guest, second, other.address, 1250)
        assert await guest.pings(network.gateway)


async def test_a_bridge_without_a_router_follows_the_underlay_too(lab: Lab) -> None:
    link = await underlay(lab, 1500)
    network = guest_network()
    async with lab.driver() as driver:
        plug = await driver.ensure_plug(network, guest_nic(network))
        await batch([f"link set {link} mtu 1400"])
        await driver.reach([THERE])
        found = await links()
        assert found[plug.bridge].mtu == found[f"{lab.names}x{network.network[:8]}"].mtu == 1350
        await batch([f"link set {link} mtu 1500"])
        assert (await driver.ensure_plug(network, guest_nic(network))).mtu == 1450
        assert (await links())[plug.bridge].mtu == 1450
        await driver.ensure_no_router(network.network)


# -- rules of others -----------------------------------------------------------------------

PLAYED = """
import asyncio, json, sys
from pathlib import Path
from roles.network.drivers.command import run
from roles.network.drivers.path import Way, blocked

async def main(names, cases):
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    found = []
    for rules, on, uplink in json.loads(cases):
        bridged.write_text(str(on))
        await run("nft", "-f", "-", text="flush ruleset\\n" + rules)
        way = Way(cidr="10.1.1.0/24", mtu=1450, public_bridge=f"{names}pub0",
                  public_cidr="198.51.100.0/24", uplink=uplink)
        found.append(await blocked(names, way))
    print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""
DOCKER = """table ip filter {
  chain DOCKER-USER {
    OURS
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump DOCKER-USER
    oifname "docker0" ct state established,related accept
    iifname "docker0" accept
  }
}
"""
BRIDGE = """table bridge guard {
  chain through {
    type filter hook forward priority 0; policy POLICY;
    RULE
  }
}
"""
NO_BRIDGED_RULES = not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()


async def played(lab: Lab, *cases: tuple[str, int, str]) -> list[str]:
    """What keeps guests from passing on a host, played by a namespace, that has those rules."""
    host = f"{lab.names}host"
    await batch([f"netns add {host}"])
    await batch(["link set lo up"], namespace=host)
    try:
        command = ("nsenter", f"--net={PLACE / host}", sys.executable, "-c", PLAYED)
        said = json.loads(await run(*command, lab.names, json.dumps(cases)))
        left = await run("ip", "-n", host, "-o", "link", "show")
        assert len(left.splitlines()) == 1, "links of a trial are left"
        assert not [*PLACE.glob(f"{lab.names}q*")]
        return said
    finally:
        await batch([f"netns del {host}"])


@pytest.mark.skipif(NO_BRIDGED_RULES, reason="this kernel has no br_netfilter")
async def test_rules_of_others_that_cut_guests_off_are_named(lab: Lab) -> None:
    ours = f'iifname "{lab.names}*" accept'
    none, docker, mended, switched, bridge, size = await played(
        lab,
        ("", 1, ""),
        (DOCKER.replace("OURS", ""), 1, ""),
        (DOCKER.replace("OURS", ours), 1, ""),
        (DOCKER.replace("OURS", ""), 0, ""),
        (BRIDGE.replace("POLICY", "drop").replace("RULE", ""), 0, ""),
        (BRIDGE.replace("POLICY", "accept").replace("RULE", "meta length > 900 drop"), 0, ""),
    )
    assert none == mended == switched == ""
    assert "dropped by ip filter FORWARD (policy drop): guests are cut off" in docker
    assert f"by {lab.names}*, or set net.bridge.bridge-nf-call-iptables = 0" in docker
    assert "dropped by bridge guard through (policy drop)" in bridge
    assert size == "packets of 1450 bytes are dropped between two links of a bridge"


@pytest.mark.skipif(NO_BRIDGED_RULES, reason="this kernel has no br_netfilter")
async def test_nobody_is_blamed_for_packets_that_are_lost_at_first(lab: Lab) -> None:
    """As on a busy machine; here the first dozen of them are."""
    first = "udp dport 53 quota until 9000 bytes drop"
    lost = BRIDGE.replace("POLICY", "accept").replace("RULE", first)
    assert await played(lab, (lost, 0, "")) == [""]


@pytest.mark.skipif(NO_BRIDGED_RULES, reason="this kernel has no br_netfilter")
async def test_a_host_that_forwards_nothing_to_the_uplink_is_told_of(lab: Lab) -> None:
    public = f"{lab.names}pub0"
    cut, by_name, by_address, bridged = await played(
        lab,
        (DOCKER.replace("OURS", ""), 0, "eth9"),
        (DOCKER.replace("OURS", f'iifname "{public}" oifname "eth9" accept'), 0, "eth9"),
        (DOCKER.replace("OURS", "ip saddr 198.51.100.0/24 accept"), 0, "eth9"),
        (DOCKER.replace("OURS", ""), 0, ""),
    )
    assert by_name == by_address == bridged == ""
    assert "ip filter FORWARD (policy drop) drops what the host forwards" in cut
    assert f"names {public} or eth9: guests do not reach the outside" in cut


async def test_a_free_path_is_not_blamed_and_leaves_nothing(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        await driver.ensure_router(network)
        before = await lab.found()
        (found,) = await driver.inspect()
        assert (found.blocked, found.trouble) == ("", "")
        assert await lab.found() == before
