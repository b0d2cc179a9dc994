"""A network namespace of its own for the thread that enters it: for what loopback cannot do."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000  # sched.h
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(name: str) -> Generator[str, None, None]:
    """Sockets made meanwhile live in a new namespace with one link, whose name is yielded.

    The link's other end is there too; IPv6 has link-local addresses without delay.
    """
    _run("ip", "netns", "add", name)
    try:
        within = ("ip", "netns", "exec", name)
        _run(*within, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        _run(*within, "ip", "link", "set", "lo", "up")
        _run(*within, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
        for link in ("near", "far"):
            _run(*within, "ip", "link", "set", link, "up")
        with open("/proc/thread-self/ns/net", "rb") as home:
            _enter(f"/run/netns/{name}")
            try:
                yield "near"
            finally:
                _set(home.fileno())
    finally:
        _run("ip", "netns", "del", name)


def _enter(path: str) -> None:
    with open(path, "rb") as other:
        _set(other.fileno())


def _set(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
