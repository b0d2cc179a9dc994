"""The public side of a host: the bridge that routers' public links are plugged into.

The driver makes it if there is none, with the public range's gateway on it, and takes it away
with its last router. One that was there before is left as it is. With an uplink named, a table of
our own in the host's nftables lets the public ranges out under the uplink's address; nothing
else of the host's firewall is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

from csnode.faults import Refused
from csnode.model.machine import GuestNetwork
from roles.network.drivers import render
from roles.network.drivers.command import Link, batch, run
from roles.network.drivers.namespace import change_settings


class PublicSide:
    """Of one host; shared by all its routers."""

    def __init__(self, bridge: str, make: bool, uplink: str, mark: Path) -> None:
        self.bridge = bridge
        self._make, self._uplink = make, uplink
        self._mark = mark  # a file that says: the bridge is ours to remove
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Hold the bridge alone: nobody plugs in while somebody takes it away."""
        async with self._lock:
            yield

    async def ensure(self, network: GuestNetwork, links: dict[str, Link]) -> None:
        """Make the bridge stand, with the network's public gateway if the bridge is ours."""
        if self.bridge not in links:
            await self._build()
        if self._mark.exists():
            public = IPv4Network(network.public_cidr)
            address = f"{network.public_gateway}/{public.prefixlen}"
            await batch([f"addr replace {address} brd + dev {self.bridge}"])

    async def _build(self) -> None:
        if not self._make:
            raise Refused(
                f"there is no bridge {self.bridge} for the public side; make it, or set "
                "make_public = true in [network.options]"
            )
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.write_text("made by csnode\n")
        await batch(
            [
                f"link add {self.bridge} address {render.mac_of(self.bridge)} type bridge"
                " forward_delay 0 mcast_snooping 0",
                f"link set {self.bridge} up",
            ]
        )
        change_settings({f"net/ipv6/conf/{self.bridge}/disable_ipv6": "1"})

    async def ensure_uplink(self, networks: Iterable[GuestNetwork]) -> None:
        """Let the public ranges of these networks, and no others, leave by the uplink."""
        if not self._uplink:
            return
        cidrs = sorted({n.public_cidr for n in networks if n.public_address})
        if cidrs:
            change_settings({"net/ipv4/ip_forward": "1"})
        await self._load(cidrs)

    async def ensure_none(self, links: dict[str, Link]) -> None:
        """Remove the bridge if it is ours and nothing is plugged into it."""
        if not self._mark.exists() or any(p.master == self.bridge for p in links.values()):
            return
        if self.bridge in links:
            await batch([f"link del {self.bridge}"])
        self._mark.unlink()

    async def _load(self, cidrs: Sequence[str]) -> None:
        table = f"{self.bridge}_uplink"
        if cidrs:
            await run("nft", "-f", "-", text=render.uplink_rules(table, self._uplink, cidrs))
        else:
            text = f"table ip {table} {{}}\ndelete table ip {table}\n"
            await run("nft", "-f", "-", text=text)
