"""Where a process serves HTTP: addresses as the configuration has them, and sockets for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from csnode.faults import Invalid

BACKLOG = 512  # connections that wait to be accepted
EVERY = "::"  # all addresses of the machine, of IPv6 and of IPv4


def addresses(section: str, listen: str | Sequence[str]) -> list[tuple[str, int]]:
    """Read "127.0.0.1:8080", "[::1]:8080", or several: a list, or a text with commas.

    Raises Invalid, naming the section.
    """
    named = listen.split(",") if isinstance(listen, str) else listen
    return [_address(section, text.strip()) for text in named]


def sockets(section: str, listen: str | Sequence[str]) -> list[socket.socket]:
    """Open a listening socket for each address; [::] serves IPv4 too.

    Raises Invalid, with no socket left open, if one cannot be had.
    """
    found: list[socket.socket] = []
    try:
        for host, port in addresses(section, listen):
            found += _opened(section, host, port)
    except BaseException:
        for sock in found:
            sock.close()
        raise
    return found


def _address(section: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise Invalid(f'[{section}] listen: expected "address:port", got {text!r}')
    return host, port


def _opened(section: str, host: str, port: int) -> list[socket.socket]:
    """Open a socket for each address that the name stands for."""
    found: list[socket.socket] = []
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, at in dict.fromkeys(known):
            both = family == socket.AF_INET6 and host == EVERY and socket.has_dualstack_ipv6()
            found.append(
                socket.create_server(at, family=family, backlog=BACKLOG, dualstack_ipv6=both)
            )
    except OSError as error:
        for sock in found:
            sock.close()
        own = error.errno and not isinstance(error, socket.gaierror)
        why = os.strerror(error.errno or 0) if own else str(error)
        at_text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise Invalid(f"[{section}] listen: cannot serve at {at_text}: {why}") from error
    for sock in found:
        sock.setblocking(False)
    return found
