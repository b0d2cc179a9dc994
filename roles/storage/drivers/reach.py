"""Which addresses and files a stranger's URL may make this host read.

The address is checked when the socket is made, so what was checked is what is connected to:
a second look-up, a redirect or a literal address cannot get around it.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any

from csnode.faults import Refused

_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Tell whether an address is one of the wide internet's, also if it is wrapped in another."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
        elif address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Gate:
    """Makes the sockets of one download, and remembers which addresses it refused."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self.refused: list[str] = []

    def open(self, target: tuple[Any, ...]) -> socket.socket:
        """Open a socket for (family, type, protocol, name, address); aiohttp's socket_factory."""
        family, kind, protocol, _, address = target
        if not self._allow_private and not is_public(str(address[0])):
            self.refused.append(str(address[0]))
            raise PermissionError("not a public address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def open_local(path: str, roots: Sequence[str]) -> int:
    """Open a regular file under one of the folders; return its descriptor. Blocks; raises Refused.

    The path is judged again after it was opened, by what the kernel says it is: a symbolic link
    put there in between leads nowhere.
    """
    folders = [Path(os.path.realpath(root)) for root in roots]
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(folder) for folder in folders):
        raise _outside(path, roots)
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"file://{path}: {error.strerror}") from error
    try:
        if not any(Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(f) for f in folders):
            raise _outside(path, roots)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused(f"file://{path} is not a file")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _outside(path: str, roots: Sequence[str]) -> Refused:
    where = "none is" if not roots else "it is in none of those that are"
    return Refused(
        f"file://{path[:200]}: images are read from folders listed in [storage.options] file_roots"
        f" only; {where} listed"
    )
