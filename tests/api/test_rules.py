"""What the api accepts, the drivers accept, and what it refuses they refuse too (Hypothesis).

Each test sends what a strategy draws through the api, tells the drivers what the rows then say as
the orchestrator does, and asks their own checks; what was refused is told to them as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.faults import Fault
from csnode.model import rules
from csnode.model.machine import Domain, GuestNetwork, Plug
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.place import Zone
from csnode.model.stock import Range
from csnode.model.telling import domain_of, guest_network, guest_nic, image_of
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.testing import network as suite
from csnode.types import NicId
from csnode.uuids import new_id
from roles.compute.drivers.domain_xml import domain_xml
from roles.network.drivers import render
from roles.network.drivers.checks import check_network, check_nic
from roles.storage.drivers.checksum import parse_checksum
from tests.api import seeds
from tests.api.conftest import ADMIN, Desk
from tests.api.test_catalogue_rows import IMAGE
from tests.api.test_deploy import SMALL

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
GATEWAY = "172.16.0.1"
PUBLIC = {"public_cidr": "172.16.0.0/20", "public_gateway": GATEWAY}
SPECIAL = ("0.0.0.0", "8.8.8.8", "10.1.1.0", "10.255.255.255", "100.64.0.1", "127.0.0.1",
           "169.254.0.1", "172.16.0.1", "172.16.16.1", "172.31.255.1", "172.32.0.1",
           "192.168.0.1", "192.169.0.1", "198.51.100.1", "224.0.0.1",
           "255.255.255.255")  # fmt: skip
NETWORK = suite.guest_network()
PLUG = Plug(nic=NicId("n"), mac="02:00:00:00:00:01", bridge="csb1")

addresses = st.sampled_from(SPECIAL).flatmap(
    lambda near: st.integers(-2, 9).map(
        lambda by: str(IPv4Address(min(max(int(IPv4Address(near)) + by, 0), 2**32 - 1)))
    )
) | st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n)))
masks = st.integers(8, 32).map(lambda n: str(IPv4Network((0, n)).netmask)) | st.sampled_from(
    ["255.0.255.0", "0.0.0.255", "24", ""]
)
labels = st.from_regex(r"[A-Za-z0-9-]{0,5}", fullmatch=True) | st.sampled_from(
    ["a" * 63, "a" * 64, "12h", "data-server", "DATA-SERVER", "localhost", "web", "a_b", "é", "a b"]
)
domains = st.lists(labels, min_size=1, max_size=5).map(".".join)
octets = st.integers(0, 255).map(lambda n: f"{n:02x}") | st.sampled_from(["0", "A", "fe", "ff", ""])
macs = st.tuples(
    st.sampled_from([":", "-", ".", " "]), st.lists(octets, min_size=5, max_size=7)
).map(lambda drawn: drawn[0].join(drawn[1])) | st.text(max_size=20)
good_masks = st.integers(15, 30).map(lambda n: str(IPv4Network((0, n)).netmask))
plans = st.one_of(  # gateway, netmask, domain: one of them strange, or none
    st.tuples(addresses, good_masks, st.just("")),
    st.tuples(st.sampled_from(["10.9.0.1", "172.16.0.1", "172.17.0.9"]), masks, st.just("")),
    st.tuples(st.just("10.9.0.1"), st.just("255.255.255.0"), domains),
    st.tuples(addresses, masks, domains),
)
cards = st.one_of(  # name, MAC address, address
    st.tuples(labels, st.just(""), st.just("")),
    st.tuples(st.just(""), macs, st.just("")),
    st.tuples(st.just(""), st.just(""), st.integers(0, 255).map(lambda n: f"10.1.1.{n}")),
    st.tuples(labels, macs, addresses),
)
sums = st.tuples(
    st.sampled_from(["", "{MD5}", "{SHA-1}", "{SHA-256}", "{sha-512}", "{SHA256}", "{foo}", "{}"]),
    st.sampled_from([31, 32, 40, 56, 64, 96, 128, 130]),
    st.sampled_from(["a", "F", "0", "g"]),
).map(lambda drawn: drawn[0] + drawn[1] * drawn[2])


def near(least: int, most: int) -> st.SearchStrategy[int]:
    """Numbers about the bounds, and within them."""
    return st.sampled_from([least, least - 1, most, most + 1]) | st.integers(least, most)


def accepts(check: Callable[[], object]) -> bool:
    try:
        check()
    except Fault:
        return False
    return True


async def sent(desk: Desk, command: str, **params: str) -> Any:
    """The content of the answer; None if it was refused, always as the caller's own mistake."""
    reply = await desk.reply(command, ADMIN, response="json", **params)
    (body,) = msgspec.json.decode(reply.body).values()
    if reply.status == 200:
        return body
    assert reply.status == 431, body
    return None


async def zone_with_public_range(desk: Desk) -> Zone:
    """The zone, whose public range lies where a guest network may want to be."""
    zone = await desk.store.get(Zone, seeds.ZONE)
    if zone.public_cidr:
        return zone
    change = desk.store.change()
    change.update(Zone, zone.id, public_cidr=PUBLIC["public_cidr"], public_gateway=GATEWAY)
    held = await desk.store.get(Range, f"public:{zone.id}")
    low = int(IPv4Address("172.16.0.10"))
    change.update(Range, held.id, revision=held.revision, low=low, high=low + 4000)
    await change.commit()
    return await desk.store.get(Zone, seeds.ZONE)


def checked(network: GuestNetwork) -> None:
    check_network(network)
    assert render.rules(network)
    assert render.dnsmasq_conf(network, "/f", 1450)


@settings(SHARED, max_examples=100)
@given(plan=plans)
async def test_a_network_that_the_api_takes_is_taken_by_the_router(
    desk: Desk, plan: tuple[str, str, str]
) -> None:
    gateway, netmask, domain = plan
    zone = await zone_with_public_range(desk)
    params = {"gateway": gateway, "netmask": netmask, "networkdomain": domain}
    made = await sent(
        desk, "createNetwork", name="n", zoneid=seeds.ZONE, networkofferingid=seeds.NET_OFFERING,
        **{name: value for name, value in params.items() if value},
    )  # fmt: skip
    if made is not None:
        row = await desk.store.get(Network, made["network"]["id"])
        checked(guest_network(row, zone))
        held = await desk.store.get(Range, f"guest:{row.id}")
        for number in {held.low, held.high} - {int(IPv4Address(row.gateway))}:
            address = str(IPv4Address(number))
            nic = replace(suite.guest_nic(NETWORK), network=row.id, address=address)  # type: ignore[arg-type]
            check_nic(nic, guest_network(row, zone))
    elif netmask:
        told = replace(NETWORK, gateway=gateway, domain=domain, cidr=cidr_of(gateway, netmask))
        told = replace(told, public_address="172.16.0.9", **PUBLIC)
        assert not accepts(lambda: checked(told))


def cidr_of(gateway: str, netmask: str) -> str:
    """The range that both say, or what is none."""
    try:
        found = IPv4Network(f"{gateway}/{IPv4Address(netmask)}", strict=False)
    except ValueError:
        return f"{gateway}/{netmask}"
    return str(found) if str(found.netmask) == netmask else f"{gateway}/{netmask}"


@settings(SHARED, max_examples=100)
@given(card=cards)
async def test_a_card_that_the_api_takes_is_taken_by_router_and_hypervisor(
    desk: Desk, card: tuple[str, str, str]
) -> None:
    name, mac, address = card
    net = new_id()
    await desk.plant(seeds.network(net, seeds.ADMIN, seeds.ROOT))
    params = {"name": name, "macaddress": mac, "ipaddress": address}
    wanted = {key: value for key, value in params.items() if value}
    made = await sent(desk, "deployVirtualMachine", networkids=net, **wanted, **SMALL)
    network, zone = await desk.store.get(Network, net), await desk.store.get(Zone, seeds.ZONE)
    told = guest_network(network, replace(zone, **PUBLIC))
    if made is not None:
        vm = await desk.store.get(Vm, made["id"])
        (nic,) = await desk.store.find(Nic, vm=vm.id)
        offering = await desk.store.get(Offering, vm.offering)
        check_nic(guest_nic(vm, nic, network, offering, zone), replace(told, public_address=""))
        assert domain_xml(
            replace(domain_of(vm, (), (replace(PLUG, mac=nic.mac),)), name="i-2-1-VM"),
            kvm=True, host_mhz=2000, log="/f",
        )  # fmt: skip
    else:
        nic = replace(suite.guest_nic(NETWORK), network=network.id)  # type: ignore[arg-type]
        given = {"hostname": name, "mac": mac, "address": address}
        nic = replace(nic, **{field: value for field, value in given.items() if value})
        assert not accepts(lambda: check_nic(nic, told))


@settings(SHARED, max_examples=60)
@given(cpus=near(1, 255), mhz=near(1, 2**31 - 1), memory=near(32, 2**31 - 1))
async def test_a_size_that_the_api_takes_is_taken_by_the_hypervisor(
    desk: Desk, cpus: int, mhz: int, memory: int
) -> None:
    made = await sent(
        desk, "createServiceOffering", name="o", cpunumber=str(cpus), cpuspeed=str(mhz or -1),
        memory=str(memory), limitcpuuse="true",
    )  # fmt: skip
    told = Domain(
        vm=NETWORK.network, name="i-2-1-VM", title="t", cpus=cpus, cpu_mhz=mhz or -1,  # type: ignore[arg-type]
        memory_mib=memory, disks=(), plugs=(), limit_cpu=True,
    )  # fmt: skip
    assert (made is not None) is accepts(lambda: domain_xml(told, kvm=True, host_mhz=1, log="/f"))


@settings(SHARED, max_examples=60)
@given(text=sums | st.text("{}-SHA256MD 0af", max_size=40))
async def test_a_checksum_that_the_api_takes_is_one_to_the_pool(desk: Desk, text: str) -> None:
    made = await sent(desk, "registerTemplate", **IMAGE | {"checksum": text})
    if made is None:
        assert not accepts(lambda: parse_checksum(text))
    else:
        row = await desk.store.get(Template, made["template"][0]["id"])
        sum = parse_checksum(image_of(row).checksum)
        assert sum is None or len(sum.value) == rules.DIGITS[sum.algorithm]


@settings(SHARED, max_examples=60)
@given(data=st.binary(max_size=40), damage=st.none() | st.integers(0, 60))
async def test_user_data_is_what_was_sent_or_refused(
    desk: Desk, data: bytes, damage: int | None
) -> None:
    """A + that became a space, or a character that was lost, is never made up for."""
    text = base64.b64encode(data).decode()
    if damage is not None:
        text = text.replace("+", " ") if damage % 2 else text[:damage] + text[damage + 1 :]
    made = await sent(desk, "deployVirtualMachine", userdata=text, **SMALL)
    if made is not None:
        vm = await desk.store.get(Vm, made["id"])
        assert vm.user_data in (text, text + "=" * (-len(text) % 4))
        if damage is None:
            assert base64.b64decode(vm.user_data) == data
    else:
        assert damage is not None
