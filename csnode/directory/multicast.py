"""The directory by multicast: every beacon goes to a group that all nodes have joined."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from csnode.config import DirectoryConfig
from csnode.directory.beacon import Address, Seal
from csnode.directory.beating import BeatingDirectory
from csnode.directory.datagrams import Datagrams, Udp
from csnode.faults import Invalid

HOPS = 1  # the group ends at the first router


class MulticastDirectory(BeatingDirectory):
    """Joins the group on one interface. All processes of a machine share its port.

    Replies come to a socket of our own: what is sent to the shared port directly reaches only one
    of the processes there.
    """

    def __init__(self, config: DirectoryConfig, seal: Seal) -> None:
        super().__init__(seal)
        self._config = config

    def _targets(self) -> Iterable[Address]:
        return ((self._config.group, self._config.port),)

    async def _open(self) -> Datagrams:
        group, port = _group(self._config), self._config.port
        index = interface_of(self._config, self._seal.keyed)
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            request = struct.pack("=4s4si", group, bytes(4), index)  # struct ip_mreqn, ip(7)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            own.bind(("", 0))
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind((self._config.group, port))
            shared.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        except OSError as error:
            own.close()
            shared.close()
            raise Invalid(
                f"[directory] cannot join {self._config.group}:{port} on "
                f"{self._config.interface}: {error.strerror}"
            ) from error
        return Udp([own, shared], self._arrived)


def interface_of(config: DirectoryConfig, keyed: bool) -> int:
    """The index of the interface named. Raises Invalid if there is none, or it needs a secret.

    Whoever can forge a beacon has calls sent to himself, so only loopback does without.
    """
    if config.interface != "lo" and not keyed:
        raise Invalid(f"[bus] secret: needed for a directory on {config.interface}")
    try:
        return socket.if_nametoindex(config.interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise Invalid(
            f"[directory] interface: there is no {config.interface!r} here; there are: {names}"
        ) from None


def _group(config: DirectoryConfig) -> bytes:
    try:
        group = IPv4Address(config.group)
    except ValueError:
        group = None
    if group is None or not group.is_multicast:
        raise Invalid(
            f"[directory] group: {config.group!r} is no IPv4 multicast address, 239.192.77.9 is one"
        )
    return group.packed
