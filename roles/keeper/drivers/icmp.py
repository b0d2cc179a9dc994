"""The prober by ICMP echo: asks a machine's kernel, whatever else of it may be broken.

An unprivileged ping socket where the system allows it (net.ipv4.ping_group_range), else a raw one,
which takes CAP_NET_RAW. Sockets live as long as one question.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct

from csnode.drivers.prober import Prober
from csnode.faults import Invalid, Unavailable
from csnode.types import Struct

WITHIN_S = 1.0
AGAIN_S = 0.3  # one echo may get lost
ECHO = {4: (8, 0), 6: (128, 129)}  # request and reply
MARK = b"csnode keeper"


class IcmpOptions(Struct, forbid_unknown_fields=True):
    """[keeper.options] of the icmp prober."""

    source: str = ""  # address to ask from; empty: as the system routes


class IcmpProber(Prober):
    """One socket a family and question; whoever answers on it, answers us."""

    options_type = IcmpOptions
    options: IcmpOptions

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        asked = {address: _ip(address) for address in addresses}
        answered: set[str] = set()
        for version in (4, 6):
            some = {str(ip) for ip in asked.values() if ip.version == version}
            if some:
                answered |= await self._echoes(version, some)
        return tuple(address for address, ip in asked.items() if str(ip) in answered)

    async def _echoes(self, version: int, addresses: set[str]) -> set[str]:
        with _opened(version, self.options.source) as sock:
            question = _Question(sock, version, addresses)
            loop = asyncio.get_running_loop()
            loop.add_reader(sock, question.read)
            try:
                async with asyncio.timeout(WITHIN_S):
                    while not question.answered.is_set():
                        question.ask()
                        try:
                            async with asyncio.timeout(AGAIN_S):
                                await question.answered.wait()
                        except TimeoutError:
                            continue
            except TimeoutError:
                pass
            finally:
                loop.remove_reader(sock)
            return question.heard


class _Question:
    """One socket's echoes, and who has answered."""

    def __init__(self, sock: socket.socket, version: int, addresses: set[str]) -> None:
        self.heard: set[str] = set()
        self.answered = asyncio.Event()
        self._sock, self._version, self._addresses = sock, version, addresses
        self._id, self._number = int.from_bytes(os.urandom(2)), 0
        self._raw = sock.type == socket.SOCK_RAW

    def ask(self) -> None:
        self._number += 1
        echo = _echo(self._version, self._id, self._number)
        for address in sorted(self._addresses - self.heard):
            try:
                self._sock.sendto(echo, (address, 0))
            except OSError:
                continue  # no route is an answer too: it is not reached

    def read(self) -> None:
        while True:
            try:
                packet, sender = self._sock.recvfrom(2048)
            except OSError:
                return
            if self._is_answer(packet):
                self.heard.add(str(sender[0]).partition("%")[0])
                if self.heard >= self._addresses:
                    self.answered.set()

    def _is_answer(self, packet: bytes) -> bool:
        """Tell whether the packet is the answer.

        A raw socket is shown every reply of the machine, IPv4 with its IP header.
        """
        if self._raw and self._version == 4:
            packet = packet[(packet[0] & 15) * 4 :]
        if len(packet) < 8 + len(MARK) or packet[0] != ECHO[self._version][1]:
            return False
        (id,) = struct.unpack("!H", packet[4:6])
        return packet[8:].startswith(MARK) and (not self._raw or id == self._id)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(address)
    except ValueError as error:
        raise Invalid(f"{address!r} is no IP address") from error


def _opened(version: int, source: str) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    why: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            why = error
            continue
        sock.setblocking(False)
        if source and _ip(source).version == version:
            sock.bind((source, 0))
        return sock
    raise Unavailable("cannot ask for echoes: that takes CAP_NET_RAW", detail=str(why))


def _echo(version: int, id: int, number: int) -> bytes:
    """Make an echo request; of IPv6 the kernel makes the checksum."""
    head = struct.pack("!BBHHH", ECHO[version][0], 0, 0, id, number & 0xFFFF)
    if version == 6:
        return head + MARK
    check = _checksum(head + MARK)
    return struct.pack("!BBHHH", ECHO[version][0], 0, check, id, number & 0xFFFF) + MARK


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
