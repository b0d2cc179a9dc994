"""Work inside a network namespace, and what can be seen of a router from there.

setns(2) moves one thread. So work that needs another namespace runs in a thread of its own, which
ends with it: no thread that the loop uses ever changes place. Sources: setns(2), netdevice(7),
linux/netfilter/nf_tables.h (NFT_MSG_GETGEN).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from csnode.types import Struct

T = TypeVar("T")
PLACE = Path("/run/netns")  # where ip-netns(8) keeps them
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFNETMASK = 0x8913, 0x8915, 0x891B
IFF_UP = 1
NETLINK_NETFILTER = 12
NFT_MSG_GETGEN = (10 << 8) | 16  # subsystem nftables
_libc = ctypes.CDLL(None, use_errno=True)


class Side(Struct):
    """One link of a router: its address with the prefix's mask, and whether it is up."""

    address: str
    netmask: str
    up: bool


class Sight(Struct):
    """A router, as it really is."""

    inode: int  # of the namespace: another one under the same name has another number
    guest: Side | None  # eth0
    public: Side | None  # eth1
    default_route: str  # the next hop, "" if there is none
    forwards: bool
    generation: int  # nftables' number of the rule set: it grows with every change


async def in_thread(work: Callable[[], T]) -> T:
    """Run the work in a new thread, which may enter namespaces."""
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def act() -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 (the one who awaits it gets it)
            answer.set_exception(error)

    threading.Thread(target=act, name="namespace", daemon=True).start()
    return await asyncio.wrap_future(answer)


async def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run the work inside the namespace. Raises OSError if there is none of that name."""

    def entered() -> T:
        enter(namespace)
        return work()

    return await in_thread(entered)


def enter(namespace: str) -> int:
    """Move this thread into the namespace, for good; answers the namespace's inode."""
    place = os.open(PLACE / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(place, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
        return os.fstat(place).st_ino
    finally:
        os.close(place)


def listening(address: str, port: int) -> socket.socket:
    """Return a TCP socket that listens where this thread is; it stays there wherever it is used."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((address, port))
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def change_settings(settings: dict[str, str]) -> None:
    """Write kernel settings of the namespace this thread is in (/proc/sys)."""
    for name, value in settings.items():
        if name.startswith("net/ipv6/") and not Path("/proc/sys/net/ipv6").exists():
            continue  # a kernel without IPv6
        Path("/proc/sys", name).write_text(value)


def look(namespace: str) -> Sight | None:
    """Enter the namespace and look around; None if there is none."""
    try:
        inode = enter(namespace)
    except OSError:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        guest, public = _side(asking, "eth0"), _side(asking, "eth1")
    return Sight(
        inode=inode,
        guest=guest,
        public=public,
        default_route=_default_route(),
        forwards=Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1",
        generation=generation(),
    )


def generation() -> int:
    """Return the number of the last change to the rules of the namespace this thread is in."""
    ask = struct.pack("=IHHIIBBH", 20, NFT_MSG_GETGEN, 1, 0, 0, 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5)
        netlink.send(ask)
        answer = netlink.recv(4096)
    at = 20  # behind the two headers: attributes, of which NFTA_GEN_ID is number 1
    while at + 8 <= len(answer):
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == 1:
            return int(struct.unpack_from(">I", answer, at + 4)[0])
        at += max(4, (size + 3) & ~3)
    return 0


def _side(asking: socket.socket, link: str) -> Side | None:
    def answer(what: int) -> bytes:
        return fcntl.ioctl(asking, what, struct.pack("16s16x", link.encode()))

    try:
        flags = struct.unpack_from("=H", answer(SIOCGIFFLAGS), 16)[0]
        address, netmask = (answer(what)[20:24] for what in (SIOCGIFADDR, SIOCGIFNETMASK))
    except OSError:
        return None
    return Side(
        address=socket.inet_ntoa(address),
        netmask=socket.inet_ntoa(netmask),
        up=bool(flags & IFF_UP),
    )


def _default_route() -> str:
    for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
        _, target, gateway, *_ = line.split()
        if target == "00000000":
            return str(IPv4Address(struct.pack("=I", int(gateway, 16))))
    return ""
