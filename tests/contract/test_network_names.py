"""What a router answers on port 53, asked by hand: resolvers differ in what they make of it.

musl takes NXDOMAIN for AAAA as an answer for A too, and systemd-resolved asks for a name of one
label under the network's domain only. So every name that stands must stand for all of them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from enum import IntEnum

import pytest
import pytest_asyncio
from msgspec.structs import replace

from csnode.model import rules
from csnode.testing.network import guest_network, guest_nic
from roles.network.drivers.namespace import inside
from tests.contract.netlab import Guest, Lab

pytestmark = pytest.mark.real
NOERROR, NXDOMAIN = 0, 3  # RFC 1035, 4.1.1
A, PTR, TXT, AAAA, HTTPS = 1, 12, 16, 28, 65


class Transport(IntEnum):
    UDP = socket.SOCK_DGRAM
    TCP = socket.SOCK_STREAM


@pytest_asyncio.fixture
async def lab() -> AsyncGenerator[Lab]:
    made = Lab()
    yield made
    await made.close()


def question(name: str, kind: int) -> bytes:
    """A query as a stub resolver sends it (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return (
        struct.pack(">6H", 0x1D5A, 0x0100, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack(">2H", kind, 1)
    )


def answered(reply: bytes, asked: bytes) -> tuple[int, list[str]]:
    """The code of a reply, and the addresses and names in its answer section."""
    number, flags, _, answers, _, _ = struct.unpack(">6H", reply[:12])
    assert number == 0x1D5A
    assert reply[12 : len(asked)].lower() == asked[12:].lower()
    found, at = list[str](), len(asked)
    for _ in range(answers):
        _, at = name_at(reply, at)
        kind, _, _, length = struct.unpack(">2HIH", reply[at : at + 10])
        at += 10
        if kind == A:
            found.append(socket.inet_ntoa(reply[at : at + length]))
        elif kind == PTR:
            found.append(name_at(reply, at)[0])
        at += length
    return flags & 15, found


def name_at(reply: bytes, at: int) -> tuple[str, int]:
    """A name, which may end in a pointer, and where what follows it begins."""
    labels, end = list[str](), 0
    while length := reply[at]:
        if length >= 192:
            end = end or at + 2
            at = (length & 63) << 8 | reply[at + 1]
            continue
        labels.append(reply[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), end or at + 1


async def ask(
    guest: Guest, name: str, kind: int, by: Transport = Transport.UDP, at: str = "10.1.1.1"
) -> tuple[int, list[str]]:
    asked = question(name, kind)

    def send() -> bytes:
        with socket.socket(socket.AF_INET, by) as sock:
            sock.settimeout(5)
            sock.connect((at, 53))
            if by is Transport.UDP:
                sock.send(asked)
                return sock.recv(4096)
            sock.sendall(struct.pack(">H", len(asked)) + asked)
            with sock.makefile("rb") as stream:
                return stream.read(struct.unpack(">H", stream.read(2))[0])

    return answered(await inside(guest.namespace, send), asked)


async def test_every_name_stands_for_every_resolver(lab: Lab) -> None:
    """Of the router and of machines, alone and under the domain, however it is asked for."""
    network = guest_network()
    nic, other = guest_nic(network, 1), guest_nic(network, 2)
    names = {rules.DATA_SERVER: network.gateway, "web-1": nic.address, "web-2": other.address}
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, nic)
        await driver.ensure_nic(other)
        assert await guest.dhcp()
        for name, address in names.items():
            for full in (name, f"{name}.{network.domain}", name.upper()):
                for by in Transport:
                    assert await ask(guest, full, A, by) == (NOERROR, [address]), full
                assert await ask(guest, full, AAAA) == (NOERROR, []), full
            for kind in (TXT, HTTPS):
                assert await ask(guest, f"{name}.{network.domain}", kind) == (NOERROR, []), name
            reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
            assert await ask(guest, reverse, PTR) == (NOERROR, [f"{name}.{network.domain}"])


async def test_a_name_that_does_not_stand_is_said_to_be_none(lab: Lab) -> None:
    network = guest_network()
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network, 1))
        assert await guest.dhcp()
        for name in ("wpad", f"wpad.{network.domain}", f"x.{rules.DATA_SERVER}",
                     f"x.{rules.DATA_SERVER}.{network.domain}"):  # fmt: skip
            for kind in (A, AAAA):
                assert await ask(guest, name, kind) == (NXDOMAIN, []), name


async def test_a_network_without_a_domain_has_its_names_too(lab: Lab) -> None:
    network = replace(guest_network(), domain="")
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network, 1))
        assert await guest.dhcp()
        assert await ask(guest, rules.DATA_SERVER, A) == (NOERROR, [network.gateway])
        assert await ask(guest, rules.DATA_SERVER, AAAA) == (NOERROR, [])
        assert await ask(guest, "web-1", AAAA) == (NOERROR, [])


async def test_a_guest_is_itself_under_localhost(lab: Lab) -> None:
    """RFC 6761, 6.3: a name server answers with the loopback address, whatever it is asked for."""
    network = guest_network()
    async with lab.driver() as driver:
        guest = await lab.deploy(driver, network, guest_nic(network, 1))
        assert await guest.dhcp()
        assert await ask(guest, "localhost", A) == (NOERROR, ["127.0.0.1"])
        assert (await ask(guest, "localhost", AAAA))[0] == NOERROR
