"""The directory by seeds: for networks without multicast.

Beacons go to every seed named in csnode.toml, and to everybody they tell of: knowing one seed is
enough. A seed is a node that listens at the configured port, as the first node of a machine does.
IPv4 and IPv6 may stand side by side; a node is told of at the address it was heard from.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from csnode import uuids
from csnode.clock import now
from csnode.config import DirectoryConfig
from csnode.directory.allowed import is_address
from csnode.directory.beacon import Address, Beacon, Says, Seal
from csnode.directory.beating import BeatingDirectory
from csnode.directory.datagrams import Datagrams, Udp, unbound
from csnode.directory.multicast import interface_of
from csnode.directory.roster import GONE_S
from csnode.faults import Invalid

TELL_MAX = 32  # addresses in one beacon
TOLD_MAX = 1024  # kept of those that others tell of
_MISSING = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a machine without IPv6


class StaticDirectory(BeatingDirectory):
    """Listens on loopback if that is its interface, else on all addresses."""

    def __init__(self, config: DirectoryConfig, seal: Seal) -> None:
        super().__init__(seal)
        self._config = config
        self._seeds: set[Address] = set()
        self._told: dict[Address, float] = {}  # when somebody told us of it

    def _targets(self) -> Iterable[Address]:
        return self._seeds.union(self._roster.addresses(), self._told)

    def _others(self) -> tuple[Address, ...]:
        known = self._roster.addresses()
        return tuple(known if len(known) <= TELL_MAX else uuids.source.sample(known, TELL_MAX))

    def _learn(self, beacon: Beacon) -> None:
        """Learn addresses, and not too many: a name would be looked up while all else waits.

        Whoever is new to us shall hear of us; whoever stays silent is forgotten again.
        """
        known = self._seeds.union(self._roster.addresses(), self._told)
        told = [other for other in beacon.others[:TELL_MAX] if is_address(*other)]
        self._told = {a: at for a, at in self._told.items() if at > now() - GONE_S}
        new = [other for other in told if other not in known][: TOLD_MAX - len(self._told)]
        self._told.update(dict.fromkeys(new, now()))
        if new and self._roster.own is not None:
            self._say(Says.HERE, new)

    async def _open(self) -> Datagrams:
        index = interface_of(self._config, self._seal.keyed)
        found = [await _resolved(seed) for seed in self._config.seeds]
        self._seeds = {address for addresses in found for address in addresses}
        with ExitStack() as stack:
            sockets: list[socket.socket] = []
            for wide in (False, True):
                try:
                    sockets.append(self._bound(stack.enter_context(unbound(wide)), wide))
                except OSError as error:
                    if wide and error.errno in _MISSING:
                        continue
                    raise Invalid(
                        f"[directory] cannot listen on port {self._config.port}: {error.strerror}"
                    ) from error
            stack.pop_all()
        return Udp(sockets, self._arrived, index)

    def _bound(self, own: socket.socket, wide: bool) -> socket.socket:
        loopback = "::1" if wide else "127.0.0.1"
        address = loopback if self._config.interface == "lo" else ""
        try:
            own.bind((address, self._config.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            own.bind((address, 0))  # another node of this machine is the seed
        return own


async def _resolved(seed: str) -> set[Address]:
    """Resolve all addresses of a seed: "192.0.2.1:17670", "[fd00::1]:17670", "name:17670"."""
    host, _, port = seed.rpartition(":")
    if not host or not port.isdecimal() or (":" in host and host[:1] + host[-1:] != "[]"):
        raise Invalid(f"[directory] seeds: {seed!r} is neither ADDRESS:PORT nor [ADDRESS]:PORT")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_DGRAM
        )
    except (OSError, OverflowError) as error:
        raise Invalid(f"[directory] seeds: cannot find {seed!r}: {error}") from error
    return {(str(where[0]).partition("%")[0], int(where[1])) for *_, where in found}
