"""A virtual world: many processes of one cloud, their network, disk and hardware, in one process.

Real roles, sagas, data service, bus and directory; simulated are time, the wire under the bus,
the air that beacons travel through, the disk under the database, and the hardware. One seed
decides everything that chance decides, so one seed is one story, whenever it is told.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from contextvars import Context, copy_context
from typing import Any, Self, TypeVar

import msgspec

from csnode import clock, uuids
from csnode.clock import take_bearings
from csnode.cloud import Cloud
from csnode.config import Config, NodeConfig
from csnode.context import acting
from csnode.data.store import Store
from csnode.drivers.driver import Simulated
from csnode.drivers.fencer import Fencer
from csnode.drivers.hypervisor import Hypervisor
from csnode.drivers.leasehold import Leasehold
from csnode.drivers.network import NetworkDriver
from csnode.drivers.prober import Prober
from csnode.drivers.storage import StorageDriver
from csnode.drivers.watchdog import Watchdog
from csnode.faults import Fault, Unavailable
from csnode.model.host import Host, Retired, Seen, StoragePool
from csnode.node import Node
from csnode.plugins import driver_type
from csnode.testing import disk
from csnode.testing.air import AirDirectory
from csnode.testing.loop import OWNER, SimLoop
from csnode.testing.notes import DiskNotes
from csnode.testing.power import Power
from csnode.testing.sockets import WireWiring
from csnode.testing.standing import principal
from csnode.testing.tenants import ADMIN, caller_of
from csnode.testing.timeline import Timeline
from csnode.testing.wire import Wire

T = TypeVar("T")
CLUSTER = "world"
DISK = "world"
READY_S = 600.0  # the slowest hardware takes 4 s an act, and one network's acts come one by one
ANSWER_S = 15.0  # a client waits no longer
UNWIND_TURNS = 2000
Shape = Mapping[str, tuple[str, ...]]
"""The roles of each process, by its name."""

SPLIT: Shape = {
    "data": ("data",),
    "api-1": ("api",),
    "api-2": ("api",),
    "orc-1": ("orchestrator",),
    "orc-2": ("orchestrator",),
    "host-1": ("compute", "network", "storage"),
    "host-2": ("compute", "network", "storage"),
    "watch": ("monitor", "fabric"),
}
HOSTING = {"compute", "network", "storage"}


class Process:
    """One process of the world, and its present start."""

    def __init__(self, name: str, roles: tuple[str, ...]) -> None:
        self.name, self.roles = name, roles
        self.starts = 0
        self.number = 0
        self.node: Node | None = None
        self.disk = DISK  # of its data service, if it plays one
        self.context = Context()
        self.running: asyncio.Task[None] | None = None

    @property
    def owner(self) -> str:
        """What its code belongs to: a new one with each start."""
        return f"{self.name}#{self.starts}"

    def count(self, state: str, node: str) -> int:
        """Return the number of this start, as a disk would keep it."""
        del state, node
        self.number = max(self.number + 1, int(clock.wall() * 1000))
        return self.number

    @property
    def machine(self) -> str:
        """The machine it runs on: "host-1" for both "host-1" and "host-1.keeper"."""
        return self.name.partition(".")[0]

    @property
    def ready(self) -> bool:
        """Whether all its roles are open."""
        return self.node is not None and self.node.ready


class World:
    """Enter it inside `simulate`; start, crash, pause and part its processes, and look at it."""

    def __init__(
        self,
        seed: int,
        shape: Shape = SPLIT,
        image: bytes | None = None,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Make a world.

        `image` is a database to begin with; `sections` are added to every configuration.
        """
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.loop, self.seed = loop, seed
        self.timeline = Timeline(loop)
        self.chance = random.Random(f"world {seed}")
        self.wire = Wire(loop, random.Random(f"wire {seed}"))
        self.processes = {name: Process(name, roles) for name, roles in shape.items()}
        self.broken: list[str] = []  # what no code of ours caught
        self.notes: dict[str, DiskNotes] = {}  # by machine
        self.drifts: dict[str, float] = {}  # by machine, from its next starts on: see SimLoop
        self._sections = sections or {}
        self._image = image
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        self._stack.enter_context(self.timeline.hearing())
        self.loop.set_exception_handler(self._broke)
        before, uuids.source = uuids.source, random.Random(f"ids {self.seed}")
        self._stack.callback(lambda: setattr(uuids, "source", before))
        for kind in (
            Hypervisor, NetworkDriver, StorageDriver, Prober, Fencer, Leasehold, Watchdog
        ):  # fmt: skip
            driver = driver_type(kind, "sim")
            assert issubclass(driver, Simulated)
            driver.forget_outside()
        self.power = Power(self, CLUSTER)
        disk.forget(DISK)
        self.disk = disk.disk_of(DISK)
        self.disk.image = self._image
        if self._image is not None:
            self.loop.epoch += 86400.0  # what the image holds of leases ran out long ago
        for machine in dict.fromkeys(p.machine for p in self.processes.values()):
            here = [p for p in self.processes.values() if p.machine == machine]
            self.wire.principals[machine] = principal(Config(self.config(p)) for p in here)
        for name in self.processes:
            self.start(name)
        await self.whole()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything as if the power were cut: a tidy end is a test of its own."""
        for name in self.processes:
            await self.crash(name)
        disk.forget(DISK)
        self._stack.close()

    def _broke(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        said = f"{context['message']}: {context.get('exception')!r}"
        self.broken.append(said)
        self.timeline.add("world", f"BROKEN {said}")

    # -- processes ---------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start the process, if it does not run."""
        self.launch(self.processes[name])

    def launch(self, process: Process) -> None:
        if process.running is not None and not process.running.done():
            return
        process.starts += 1
        process.context = copy_context()
        process.context.run(OWNER.set, process.owner)
        if drift := self.drifts.get(process.machine):
            self.loop.drift[process.owner] = drift
        process.running = self.loop.create_task(self._play(process), context=process.context)
        self.timeline.add("world", f"starts {process.name}")

    async def _play(self, process: Process) -> None:
        machine = process.machine
        notes = self.notes.setdefault(machine, DiskNotes(machine))
        config, cloud = Config(self.config(process)), Cloud(notes, CLUSTER)
        take_bearings(cloud.bearings)
        wiring = WireWiring(self.wire, process.owner, process.context)
        directory = AirDirectory(CLUSTER, self.wire, process.owner, process.context)
        process.node = Node(
            config, directory=directory, wiring=wiring, count=process.count, cloud=cloud
        )
        try:
            await process.node.run()
        except Fault as fault:
            self.timeline.add("world", f"{process.name} cannot run: {fault.message}")

    def config(self, process: Process) -> dict[str, dict[str, Any]]:
        """Return what csnode.toml would say for that process."""
        values: dict[str, dict[str, Any]] = {
            "node": {
                "cluster": CLUSTER,
                "host": process.machine,
                "name": process.name.replace(".", "/"),
                "roles": process.roles,
                "state": f"/nonexistent/{process.name}",
            },
            "data": {"inline": True, "path": f"sim:{process.disk}"},
            "api": {"listen": ""},
            "compute": {"driver": "sim", "address": process.machine},
            "network": {"driver": "sim"},
            "storage": {"driver": "sim"},
            "keeper": {"driver": "sim"},
            "monitor": {"prober": "sim"},
            "fabric": {"admin_password": "password"},  # a made one would be kept on a real disk
        }
        for name, section in self._sections.items():
            values[name] = {**values.get(name, {}), **section}
        return values

    async def crash(self, name: str) -> None:
        """Crash it as kill -9: sockets and disk are away before its code can do anything."""
        await self.kill(self.processes[name])

    async def kill(self, process: Process) -> None:
        if process.running is None or process.running.done():
            return
        self.timeline.add("world", f"kills {process.name}")
        owner = process.owner
        self.wire.end(owner)
        if "data" in process.roles:
            disk.disk_of(process.disk).cut()
        await self._unwind(owner)
        self.loop.forget(owner)
        process.node = None

    async def _unwind(self, owner: str) -> None:
        """End its tasks; what they try on their way out leads nowhere."""
        self.loop.wake(owner)
        told: set[asyncio.Task[Any]] = set()
        for turn in range(UNWIND_TURNS):
            left = self.loop.tasks_of(owner)
            if not left:
                return
            if turn % 50 == 49:  # it waits for something on its way out: in vain
                told.clear()
            for task in left:
                if task not in told:
                    told.add(task)
                    task.cancel()
            await asyncio.sleep(0)
        raise RuntimeError(f"{owner} does not end: {self.loop.tasks_of(owner)}")

    def pause(self, name: str) -> None:
        """Stop the process, as by SIGSTOP: it does nothing, and knows nothing of it."""
        self.timeline.add("world", f"puts {name} to sleep")
        self.loop.sleep(self.processes[name].owner)

    def resume(self, name: str) -> None:
        """Go on, as after SIGCONT."""
        self.timeline.add("world", f"wakes {name}")
        self.loop.wake(self.processes[name].owner)

    def part(self, *side: str) -> None:
        """Part these processes from the others: the two sides cannot reach each other."""
        self.timeline.add("world", f"parts {', '.join(side)} from the others" if side else "heals")
        self.wire.partition(dict.fromkeys(side, 1))

    def skew(self, name: str, seconds: float) -> None:
        """Set the process's wall clock wrong by that much."""
        self.timeline.add("world", f"sets the clock of {name} {seconds:+.1f} s")
        process = self.processes[name]
        for start in range(process.starts, process.starts + 8):
            self.loop.skew[f"{name}#{start}"] = seconds

    # -- looking -------------------------------------------------------------------------------

    async def whole(self) -> None:
        """Wait until every process is ready, and every host that was not removed is Up."""
        async with asyncio.timeout(READY_S):
            while not all(p.ready for p in self.processes.values()):
                for process in self.processes.values():
                    running = process.running
                    if running is not None and running.done() and not running.cancelled():
                        await running
                await asyncio.sleep(0.05)
            while not await self._all_up():
                await asyncio.sleep(0.2)

    async def _all_up(self) -> bool:
        try:
            up = {h.id for h in await self.store.find(Host) if h.seen is Seen.UP}
            pools = [p for p in await self.store.find(StoragePool) if p.up]
            gone = {row.id for row in await self.store.find(Retired)}  # names may be others by then
        except Unavailable:
            return False
        standing, named = self.hosts.keys() - gone, NodeConfig(cluster=CLUSTER)
        if not standing <= up:
            return False
        section = self._sections.get("storage", {})
        if section.get("shared"):
            return bool(pools) or named.shared_pool(section["name"]) in gone
        storing = {p.machine for p in self.processes.values() if "storage" in p.roles}
        local = {id for id in standing if self.hosts[id] in storing}
        local = {id for id in local if named.local_pool(self.hosts[id])[0] not in gone}
        return local <= {str(pool.host) for pool in pools}

    @property
    def bus(self) -> Any:
        """The bus of some process that runs, the data service's first."""
        for process in self.processes.values():
            if process.ready:
                assert process.node is not None
                return process.node.bus
        raise Unavailable("no process runs")

    @property
    def store(self) -> Store:
        """The rows, for looking."""
        return Store(self.bus, "test")

    def role(self, process: str, role: str) -> Any:
        """Return the role object, as that process plays it now."""
        node = self.processes[process].node
        assert node is not None
        return node.roles[role]

    def outside(self, kind: type[Any], place: str) -> Any:
        """Return the simulated hardware of a host or pool, by the driver's kind and place's id."""
        module: Any = sys.modules[driver_type(kind, "sim").__module__]
        return module.outside(place)

    @property
    def hosts(self) -> dict[str, str]:
        """The machines that run guests, by the id of the host that each is."""
        machines = dict.fromkeys(p.machine for p in self.processes.values() if "compute" in p.roles)
        return {self.power.host(machine): machine for machine in machines}

    # -- asking as a client ----------------------------------------------------------------------

    def apis(self) -> list[str]:
        """Return the processes that serve the API just now."""
        return [
            p.name
            for p in self.processes.values()
            if "api" in p.roles and p.ready and not self.loop.is_asleep(p.owner)
        ]

    async def ask(
        self, api: str, command: str, params: Mapping[str, str] | None = None,
        user: str = ADMIN, key: str = "",
    ) -> tuple[int, dict[str, Any]]:  # fmt: skip
        """Send one request of that user to that api; return status and body without its wrapper.

        `key` is its Idempotency-Key. Raises Unavailable if no answer came: then nobody knows
        whether it was done.
        """
        process = self.processes[api]
        if not process.ready:
            raise Unavailable(f"{api} refuses the connection")
        door = self.role(api, "api")

        async def answered() -> Any:
            with acting(trace=uuids.source.randbytes(16).hex(), caller="api"):
                asked = {"command": command, "response": "json", **(params or {})}
                return await door.answer(asked, caller=caller_of(door.view, user), key=key)

        reply = await self.inside(api, answered, ANSWER_S)
        return reply.status, next(iter(msgspec.json.decode(reply.body).values()))

    async def inside(
        self, name: str, work: Callable[[], Coroutine[Any, Any, T]], within_s: float
    ) -> T:
        """Run it as the process's own code; Unavailable if the process ends or says nothing."""
        process = self.processes[name]
        task = self.loop.create_task(work(), context=process.context.copy())
        done, _ = await asyncio.wait((task,), timeout=within_s)
        if not done or task.cancelled():
            raise Unavailable(f"{name} did not answer")
        return task.result()

    async def until(
        self, fact: Callable[[], Awaitable[bool]], seconds: float, every_s: float = 0.5
    ) -> bool:
        """Wait; return whether the fact comes true within that time."""
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            try:
                if await fact():
                    return True
            except Unavailable:
                pass
            await asyncio.sleep(every_s)
        return False
