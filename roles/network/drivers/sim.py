"""The sim driver: a host's networks as values. What it made outlives it, as the real one's does.

`OUTSIDE` holds the world of each host by its id. Tests look there, and break things there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from csnode.drivers.acts import Acts
from csnode.drivers.driver import Seat, Simulated
from csnode.drivers.network import NetworkDriver
from csnode.faults import Conflict, Refused
from csnode.model.machine import FoundNetwork, FoundNic, GuestNetwork, GuestNic, Plug
from csnode.types import NetworkId, NicId, Struct
from roles.network.ability import Remembers
from roles.network.drivers.checks import check_network, check_nic
from roles.network.drivers.tunnels import usable

T = TypeVar("T")


class SimOptions(Struct, forbid_unknown_fields=True):
    """[network.options] of the sim driver."""

    latency_s: float = 0.0  # how long every verb takes
    fail: tuple[str, ...] = ()  # verbs that are refused: "ensure_router"


class World:
    """What stands on one host."""

    def __init__(self) -> None:
        self.routers: dict[NetworkId, GuestNetwork] = {}
        self.nics: dict[NetworkId, dict[NicId, GuestNic]] = {}
        self.bridges: set[NetworkId] = set()
        self.cut: set[NetworkId] = set()  # routers that do not work
        self.plugged: set[NetworkId] = set()  # networks whose bridge has machines on it
        self.peers: set[str] = set()  # addresses of the hosts that every bridge leads to
        self.mtu = 1450  # of every bridge
        self.blocked = ""  # what keeps packets of guests from passing
        self.failing: set[str] = set()  # verbs that are refused for now: "ensure_router"
        self.acts = Acts()

    def lose_power(self) -> None:
        """Lose all of it, as what a kernel holds is lost."""
        for held in (self.routers, self.nics, self.bridges, self.cut, self.plugged):
            held.clear()


OUTSIDE: dict[str, World] = {}  # by host id


def outside(host: str) -> World:
    """Return what stands on the host, for tests that break it."""
    return OUTSIDE.setdefault(host, World())


def forget_all() -> None:
    """Empty every host again, for a new world."""
    OUTSIDE.clear()


class SimNetwork(NetworkDriver, Remembers, Simulated):
    """Refuses what the linux driver refuses."""

    options_type: ClassVar[type[Struct]] = SimOptions
    options: SimOptions

    def __init__(self, options: Mapping[str, Any], seat: Seat) -> None:
        super().__init__(options, seat)
        self._world = outside(seat.id)

    def told(self) -> Mapping[NetworkId, GuestNetwork]:
        return self._world.routers

    async def ensure_router(self, network: GuestNetwork) -> None:
        check_network(network)
        world = self._world

        def act() -> None:
            world.routers[network.network] = network
            world.nics.setdefault(network.network, {})
            world.bridges.add(network.network)
            world.cut.discard(network.network)

        await self._carry_out("ensure_router", network.network, act)

    async def ensure_no_router(self, network: NetworkId) -> None:
        world = self._world

        def act() -> None:
            world.routers.pop(network, None)
            world.nics.pop(network, None)
            world.cut.discard(network)
            if network in world.plugged:
                raise Conflict(
                    f"machines are still plugged into the network's bridge on {self.seat.name}"
                )
            world.bridges.discard(network)

        await self._carry_out("ensure_no_router", network, act)

    async def ensure_nic(self, nic: GuestNic) -> None:
        await self._carry_out("ensure_nic", nic.network, lambda: self._lease(nic))

    def _lease(self, nic: GuestNic) -> None:
        if nic.network not in self._world.routers:
            raise Conflict(f"network {nic.network} has no router on {self.seat.name}")
        check_nic(nic, self._world.routers[nic.network])
        nics = self._world.nics[nic.network]
        for other in nics.values():
            if other.nic != nic.nic and (other.address == nic.address or other.mac == nic.mac):
                raise Conflict(f"{nic.address} or {nic.mac} belongs to card {other.nic}")
        nics[nic.nic] = nic

    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        def act() -> None:
            self._world.nics.get(network, {}).pop(nic, None)

        await self._carry_out("ensure_no_nic", network, act)

    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        check_network(network)
        check_nic(nic, network)

        def act() -> Plug:
            self._world.bridges.add(network.network)
            return Plug(nic=nic.nic, mac=nic.mac, bridge=f"sim-{network.network[:8]}")

        return await self._carry_out("ensure_plug", network.network, act)

    async def reach(self, peers: Sequence[str]) -> None:
        self._refuse_perhaps("reach")
        self._world.peers = {p for p in peers if usable(p)} if usable(self.seat.address) else set()

    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        await self._take_time("survey")
        world = self._world
        working = [n for n in world.routers if n not in world.cut]
        return {network: tuple(sorted(world.nics[network])) for network in working}

    async def inspect(self) -> tuple[FoundNetwork, ...]:
        await self._take_time("inspect")
        world = self._world
        return tuple(
            FoundNetwork(
                network=id,
                told=world.routers.get(id),
                nics=tuple(
                    FoundNic(nic=nic.nic, vm=nic.vm, mac=nic.mac, address=nic.address)
                    for _, nic in sorted(world.nics.get(id, {}).items())
                ),
                trouble="the router is cut" if id in world.cut else "",
                plugged=int(id in world.plugged),
                mtu=world.mtu,
                blocked=world.blocked,
            )
            for id in sorted({*world.routers, *world.bridges})
        )

    @classmethod
    def forget_outside(cls) -> None:
        forget_all()

    async def _carry_out(self, verb: str, network: NetworkId, act: Callable[[], T]) -> T:
        """Ask the host for it: it takes its time, and refuses what it was configured to."""

        def happen() -> T:
            self._refuse_perhaps(verb)
            return act()

        return await self._world.acts.carry_out(network, self.options.latency_s, happen)

    async def _take_time(self, verb: str) -> None:
        """Take time, for looking only: nothing goes on when nobody waits for it."""
        if self.options.latency_s:
            await asyncio.sleep(self.options.latency_s)
        self._refuse_perhaps(verb)

    def _refuse_perhaps(self, verb: str) -> None:
        if verb in self.options.fail:
            raise Refused(f"{verb} is refused here, as configured")
        if verb in self._world.failing:
            raise Refused(f"{verb} is refused here for now")
