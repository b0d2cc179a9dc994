"""The VXLAN links of this host's bridges (RFC 7348), and to which other hosts they lead.

What has no known place is copied to every host named (head-end replication); places are learned
from what arrives. All of it is the kernel's: it outlives this process. Source: bridge(8), fdb.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from csnode.log import logger
from roles.network.drivers import render
from roles.network.drivers.command import Link, batch, links, run

log = logger("network")


def usable(address: str) -> bool:
    """Tell whether a tunnel may begin or end there: an IPv4 address that is not loopback."""
    try:
        found = IPv4Address(address)
    except AddressValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_multicast)


class Tunnels:
    """Of every network of this host."""

    def __init__(self, prefix: str, local: str, fixed: Sequence[str]) -> None:
        """Make tunnels; `fixed` hosts always win.

        `local` is this host's address; "": guests stay on one host.
        """
        self.local = local
        self._name = re.compile(rf"{prefix}x{render.SHORT}")
        self._carries = re.compile(rf"{prefix}[bx]{render.SHORT}")
        self._fixed = tuple(fixed)
        self._peers: tuple[str, ...] = self._fixed
        self._one = asyncio.Lock()  # reads and writes the forwarding tables

    def guest_mtu(self, found: Mapping[str, Link], most: int) -> int:
        """Return the MTU of guests: as much of it as this host's link to the others carries."""
        carried = [link.mtu for link in found.values() if self.local in link.addresses]
        room = min([most, *(mtu - render.VXLAN_HEADERS for mtu in carried if mtu)])
        return max(room, render.MTU_MIN)

    async def ensure_mtu(self, mtu: int) -> None:
        """Make every bridge and tunnel of the host carry that much; routers are mended apart."""
        lines = [
            f"link set {link.name} mtu {mtu}"
            for link in (await links()).values()
            if self._carries.fullmatch(link.name) and link.mtu != mtu
        ]
        if lines:
            log.info("the underlay carries another size", mtu=mtu, links=len(lines))
            await batch(lines, force=True)

    async def ensure(self, names: render.Names, vni: int, mtu: int) -> None:
        """Make the link stand in the network's bridge and lead to every host.

        A job and a sweep may find it missing at the same time.
        """
        async with self._one:
            if names.vxlan not in await links():
                await batch(render.vxlan_lines(names, vni, self.local, mtu))
            if lines := render.flood_lines(names.vxlan, self._peers):
                await batch(lines, tool="bridge")

    async def reach(self, peers: Iterable[str]) -> None:
        """Lead every tunnel, those made later too, to these hosts and to no other."""
        wanted = {peer for peer in peers if usable(peer) and peer != self.local}
        self._peers = self._fixed or tuple(sorted(wanted))
        async with self._one:
            tunnels = [name for name in await links() if self._name.fullmatch(name)]
            if not tunnels:
                return
            leads = await _leads()
            lines: list[str] = []
            for tunnel in tunnels:
                there = leads.get(tunnel, set())
                lines += render.flood_lines(tunnel, sorted(set(self._peers) - there))
                lines += render.dry_lines(tunnel, sorted(there - set(self._peers)))
            if lines:  # a tunnel may be gone by now, with the last machine of its network
                log.info("tunnels lead elsewhere", hosts=len(self._peers), changes=len(lines))
                await batch(lines, tool="bridge", force=True)


async def _leads() -> dict[str, set[str]]:
    """Return where each tunnel of the host copies to, by its name."""
    table: list[dict[str, Any]] = json.loads(await run("bridge", "-j", "fdb", "show") or "[]")
    leads: dict[str, set[str]] = {}
    for entry in table:
        if entry.get("mac") == render.FLOOD and "dst" in entry:
            leads.setdefault(entry["ifname"], set()).add(entry["dst"])
    return leads


def lacks_tunnel(names: render.Names, found: Mapping[str, Link]) -> bool:
    """Tell whether the network's bridge stands without one."""
    return names.bridge in found and names.vxlan not in found
