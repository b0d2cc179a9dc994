"""The directory by seeds: for networks without multicast.

Beacons go to every seed named in csnode.toml, and to everybody they tell of: knowing one seed is
enough. A seed is a node that listens at the configured port, as the first node of a machine does.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable

from csnode import uuids
from csnode.clock import now
from csnode.config import DirectoryConfig
from csnode.directory.beacon import Address, Beacon, Says, Seal
from csnode.directory.beating import BeatingDirectory
from csnode.directory.datagrams import Datagrams, Udp
from csnode.directory.multicast import interface_of
from csnode.directory.roster import GONE_S
from csnode.faults import Invalid

TELL_MAX = 32  # addresses in one beacon


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
        """Whoever is new to us shall hear of us; whoever stays silent is forgotten again."""
        known = self._seeds.union(self._roster.addresses(), self._told)
        new = [other for other in beacon.others if other not in known]
        self._told = {a: at for a, at in self._told.items() if at > now() - GONE_S}
        self._told.update(dict.fromkeys(new, now()))
        if new and self._roster.own is not None:
            self._say(Says.HERE, new)

    async def _open(self) -> Datagrams:
        interface_of(self._config, self._seal.keyed)
        self._seeds = {await _resolved(seed) for seed in self._config.seeds}
        address = "127.0.0.1" if self._config.interface == "lo" else ""
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            try:
                own.bind((address, self._config.port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                own.bind((address, 0))  # another node of this machine is the seed
        except OSError as error:
            own.close()
            raise Invalid(
                f"[directory] cannot listen on port {self._config.port}: {error.strerror}"
            ) from error
        return Udp([own], self._arrived)


async def _resolved(seed: str) -> Address:
    host, _, port = seed.rpartition(":")
    if not host or not port.isdecimal():
        raise Invalid(f"[directory] seeds: {seed!r} is not ADDRESS:PORT")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, int(port), family=socket.AF_INET, type=socket.SOCK_DGRAM
        )
    except (OSError, OverflowError) as error:
        raise Invalid(f"[directory] seeds: cannot find {seed!r}: {error}") from error
    where = found[0][4]
    return str(where[0]), int(where[1])
