"""Giving a guest's lease back in its place: a DHCPRELEASE as the guest would send it.

dnsmasq keeps an address for the card that had it, and gives it to no other until it is released.
A machine that was destroyed says nothing, so we say it: one Ethernet frame into the router's end
of the link. Sources: RFC 2131 (4.4.6), RFC 2132, packet(7).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

CLIENT_PORT, SERVER_PORT = 68, 67
BOOTREQUEST, ETHERNET = 1, 1
MAGIC = bytes((99, 130, 83, 99))
MESSAGE_TYPE, SERVER_ID, END = 53, 54, 255
RELEASE = 7


def release(link: str, mac: str, address: str, router: str, router_mac: str) -> None:
    """Send it from the host's end of the router's guest link. Raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((link, 0))
        raw.send(frame(mac, address, router, router_mac))


def frame(mac: str, address: str, router: str, router_mac: str) -> bytes:
    """Build the whole frame: Ethernet, IPv4, UDP (no checksum, as RFC 768 allows), DHCP."""
    client, server = IPv4Address(address).packed, IPv4Address(router).packed
    card = _mac(mac)
    message = struct.pack(
        "!BBBBIHH4s4s4s4s16s192x", BOOTREQUEST, ETHERNET, 6, 0, 0x6373, 0, 0, client,
        bytes(4), bytes(4), bytes(4), card,
    )  # fmt: skip
    message += MAGIC + bytes((MESSAGE_TYPE, 1, RELEASE, SERVER_ID, 4)) + server + bytes((END,))
    udp = struct.pack("!HHHH", CLIENT_PORT, SERVER_PORT, 8 + len(message), 0) + message
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    head += client + server
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return _mac(router_mac) + card + struct.pack("!H", 0x0800) + head + udp


def checksum(header: bytes) -> int:
    """Return the Internet checksum of an even number of bytes (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
