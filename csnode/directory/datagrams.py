"""Datagrams as a directory sends and hears them: the seam to UDP, or to a virtual world's air."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from csnode.directory.beacon import DATAGRAM_MAX, Address

READ_MAX = 256  # datagrams taken before others have their turn
Take = Callable[[bytes, Address], None]
"""Given a datagram, and where it came from."""


class Datagrams(Protocol):
    """Where beacons leave and arrive."""

    def send(self, datagram: bytes, to: Address) -> None:
        """Send with best effort: the network may be away, or full."""

    def look(self) -> None:
        """Take what has arrived by now."""

    def close(self) -> None:
        """Send and take nothing more."""


class Udp:
    """Sockets that are read as datagrams come; what is sent leaves by the first of its family."""

    def __init__(self, sockets: Sequence[socket.socket], take: Take, scope: int = 0) -> None:
        """Make sockets.

        `scope`: the interface where IPv6 addresses that hold on one link only are meant.
        """
        self._sockets, self._take, self._scope = tuple(sockets), take, scope
        self._outlets = {opened.family: opened for opened in reversed(self._sockets)}
        loop = asyncio.get_running_loop()
        for opened in self._sockets:
            opened.setblocking(False)
            loop.add_reader(opened.fileno(), self._read, opened)

    def send(self, datagram: bytes, to: Address) -> None:
        wide = ":" in to[0]
        outlet = self._outlets.get(socket.AF_INET6 if wide else socket.AF_INET)
        if outlet is not None:
            with suppress(OSError, OverflowError):
                outlet.sendto(datagram, (*to, 0, self._scope) if wide else to)

    def look(self) -> None:
        for opened in self._sockets:
            self._read(opened)

    def close(self) -> None:
        for opened in self._sockets:
            asyncio.get_running_loop().remove_reader(opened.fileno())
            opened.close()

    def _read(self, opened: socket.socket) -> None:
        for _ in range(READ_MAX):
            try:
                datagram, sender = opened.recvfrom(DATAGRAM_MAX)
            except OSError:  # nothing left; or an error of an earlier send, which does not matter
                return
            self._take(datagram, (sender[0].partition("%")[0], sender[1]))


def unbound(wide: bool) -> socket.socket:
    """Return a socket for datagrams of IPv6 (`wide`), and no other, or of IPv4."""
    made = socket.socket(socket.AF_INET6 if wide else socket.AF_INET, socket.SOCK_DGRAM)
    if wide:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
