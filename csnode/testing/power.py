"""The power of a virtual world's machines, their switches, and who answers an echo request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from csnode.drivers.fencer import Fencer
from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.network import NetworkDriver
from csnode.drivers.prober import Prober
from csnode.drivers.watchdog import Watchdog
from csnode.testing.timeline import Timeline
from csnode.testing.wire import Wire
from csnode.uuids import id_of

BOOT_S = 8.0  # after a reset by the watchdog


class Running(Protocol):
    """A process of the world, as far as its machine's power matters to it."""

    name: str

    @property
    def machine(self) -> str:
        """The machine it runs on."""
        ...


class Powered(Protocol):
    """A world whose machines have power: what the power needs of it."""

    timeline: Timeline
    wire: Wire

    @property
    def processes(self) -> Mapping[str, Running]:
        """Every process there is, by its name."""
        ...

    def outside(self, kind: type[Any], place: str) -> Any:
        """Return the simulated hardware of a host, by the driver's kind and the host's id."""
        ...

    def start(self, name: str) -> None:
        """Start a process that ended."""
        ...

    async def crash(self, name: str) -> None:
        """End a process between two instructions."""
        ...


class Power:
    """Every machine has some. A switch (the sim fencer's) does what these methods do."""

    def __init__(self, world: Powered, cluster: str) -> None:
        self._world, self._cluster = world, cluster
        self._off: set[str] = set()
        self.kept_off: set[str] = set()  # machines that somebody switched off and keeps so
        self.stopped: set[str] = set()  # guests that ran on a machine which lost its power
        world.outside(Prober, "").reaches = self.answers
        for machine in self.machines():
            switch = self.switch(machine)
            switch.cut = partial(self._lost, machine)
            switch.restored = partial(self._restored, machine)
            self.watchdog(machine).bites = partial(self._reset, machine)

    def host(self, machine: str) -> str:
        """Return the id of the host that the machine is."""
        return id_of(self._cluster, "host", machine)

    def switch(self, machine: str) -> Any:
        """Return its management board: `on`, `answers` and `seconds` can be looked at and set."""
        return self._world.outside(Fencer, self.host(machine))

    def watchdog(self, machine: str) -> Any:
        """Return the hardware that resets the machine, once a keeper has armed it."""
        return self._world.outside(Watchdog, self.host(machine))

    def answers(self, asker: str, address: str) -> bool:
        """Tell whether the machine of that address has power, and can be reached from the asker."""
        if self._off & {asker, address}:
            return False
        processes = self._world.processes.values()
        ours = [p.name for p in processes if p.machine == asker]
        theirs = [p.name for p in processes if p.machine == address]
        return any(self._world.wire.meet(a, b) for a in ours for b in theirs)

    async def cut(self, machine: str) -> None:
        """Cut the machine's power: processes, guests and routers end, between two instructions."""
        await self.switch(machine).turn(False)

    def machines(self) -> list[str]:
        """Return all machines, by name."""
        return sorted({p.machine for p in self._world.processes.values()})

    def has(self, machine: str) -> bool:
        """Tell whether the machine has power."""
        return machine not in self._off

    async def restore(self, machine: str) -> None:
        """Boot the machine: its guests do not come back, and csnode does."""
        await self.switch(machine).turn(True)

    async def _lost(self, machine: str) -> None:
        world, host = self._world, self.host(machine)
        world.timeline.add("world", f"{machine} loses power")
        self._off.add(machine)
        self.watchdog(machine).rest()
        for kind in (Hypervisor, NetworkDriver):
            outside = world.outside(kind, host)
            outside.acts.stop()
            if kind is Hypervisor:
                self.stopped.update(outside.machines)
            outside.lose_power()
        for process in self._of(machine):
            await world.crash(process)

    async def _reset(self, machine: str) -> None:
        """Reset by the watchdog: it boots by itself, unless somebody switched it off meanwhile."""
        self._world.timeline.add("world", f"the watchdog of {machine} bites")
        await self._lost(machine)
        await asyncio.sleep(BOOT_S)
        if self.switch(machine).on:
            await self._restored(machine)

    async def _restored(self, machine: str) -> None:
        self._world.timeline.add("world", f"{machine} has power")
        self._off.discard(machine)
        for process in self._of(machine):
            self._world.start(process)

    def _of(self, machine: str) -> list[str]:
        return [p.name for p in self._world.processes.values() if p.machine == machine]
