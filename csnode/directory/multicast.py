"""The directory by multicast: every beacon goes to a group that all nodes have joined."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from csnode.config import DirectoryConfig
from csnode.directory.beacon import Address, Seal
from csnode.directory.beating import BeatingDirectory
from csnode.directory.datagrams import Datagrams, Udp, unbound
from csnode.faults import Invalid

HOPS = 1  # the group ends at the first router


class MulticastDirectory(BeatingDirectory):
    """Joins the group on one interface. All processes of a machine share its port.

    Replies come to a socket of our own: what is sent to the shared port directly reaches only one
    of the processes there. With IPv6 they come from and go to link-local addresses.
    """

    def __init__(self, config: DirectoryConfig, seal: Seal) -> None:
        super().__init__(seal)
        self._config = config

    def _targets(self) -> Iterable[Address]:
        return ((self._config.group, self._config.port),)

    async def _open(self) -> Datagrams:
        group, port = _group(self._config), self._config.port
        index = interface_of(self._config, self._seal.keyed)
        wide = group.version == 6
        own, shared = unbound(wide), unbound(wide)
        try:
            own.bind(("", 0))
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind((str(group), port, 0, index) if wide else (str(group), port))
            (_join6 if wide else _join4)(group, index, own, shared)
        except OSError as error:
            own.close()
            shared.close()
            raise Invalid(
                f"[directory] cannot join {self._config.group}:{port} on "
                f"{self._config.interface}: {error.strerror}"
            ) from error
        return Udp([own, shared], self._arrived, index)


def interface_of(config: DirectoryConfig, keyed: bool) -> int:
    """Return the index of the interface named.

    Raises Invalid if there is none, or it needs a credential. Whoever can forge a beacon has calls
    sent to himself, so only loopback does without.
    """
    if config.interface != "lo" and not keyed:
        raise Invalid(
            f"[directory] interface: {config.interface} needs a credential;"
            " `csnode cluster init` or `csnode join` makes one"
        )
    try:
        return socket.if_nametoindex(config.interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise Invalid(
            f"[directory] interface: there is no {config.interface!r} here; there are: {names}"
        ) from None


def _join4(group: Group, index: int, own: socket.socket, shared: socket.socket) -> None:
    request = struct.pack("=4s4si", group.packed, bytes(4), index)  # struct ip_mreqn, ip(7)
    own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
    own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
    own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    shared.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


def _join6(group: Group, index: int, own: socket.socket, shared: socket.socket) -> None:
    request = struct.pack("=16si", group.packed, index)  # struct ipv6_mreq, ipv6(7)
    own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    shared.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)


Group = IPv4Address | IPv6Address


def _group(config: DirectoryConfig) -> Group:
    try:
        group = ip_address(config.group)
    except ValueError:
        group = None
    if group is None or not group.is_multicast:
        raise Invalid(
            f"[directory] group: {config.group!r} is no multicast address;"
            " 239.192.77.9 and ff02::4d09 are two"
        )
    if group.version == 6 and config.interface == "lo":
        raise Invalid(
            "[directory] interface: lo carries no IPv6 multicast; 239.192.77.9 goes there"
        )
    return group
