"""A node: one process that plays the roles csnode.toml names.

The whole of "one executable, any roles": roles open side by side, each as soon as the data
service answers, and close in the reverse order. Which other nodes there are makes no difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from csnode import __version__, health, muster
from csnode.bus.local import LocalBus
from csnode.bus.streams import streaming
from csnode.bus.wiring import Wiring
from csnode.bus.zeromq import ZmqBus
from csnode.clock import take_bearings
from csnode.cloud import MEET_S, Cloud, FileNotes
from csnode.config import (
    KERNEL,
    BusConfig,
    Config,
    DirectoryConfig,
    HealthConfig,
    RedisConfig,
    ZooKeeperConfig,
)
from csnode.contracts.data import Data
from csnode.data.store import Store
from csnode.directory.allowed import is_node_of
from csnode.directory.alone import AloneDirectory
from csnode.directory.beacon import Seal
from csnode.directory.directory import Directory, Health, Member, Serving
from csnode.directory.incarnation import next_incarnation
from csnode.directory.multicast import MulticastDirectory
from csnode.directory.redis import RedisDirectory
from csnode.directory.static import StaticDirectory
from csnode.directory.zookeeper import ZooKeeperDirectory
from csnode.faults import Conflict, Fault, Invalid, Unavailable
from csnode.lease import chosen
from csnode.lease.lease import Leases
from csnode.log import logger
from csnode.plugins import found, load
from csnode.role import Role, quietly, repeated
from csnode.trust import local
from csnode.trust.local import LocalKey
from csnode.trust.trust import Trust
from csnode.types import Struct

AnyBus = LocalBus | ZmqBus
ANNOUNCE_S = 1.0
AGAIN_S = 0.25  # before a role is opened again
OPEN = (
    "every user of this machine may join the cloud and change it; once no process of an older"
    ' version runs, stop all, set [trust] loopback = "key", and start them again'
)
log = logger("node")


def role_types(names: Sequence[str]) -> list[type[Role[Any]]]:
    """Return the roles of these names; Invalid names the unknown one and those there are."""
    return [load("roles", name) for name in names]


def known_sections() -> dict[str, type[Struct]]:
    """Return every section a csnode.toml may have: the kernel's, and each installed role's."""
    return KERNEL | {name: load("roles", name).config_type() for name in found("roles")}


class Node:
    """Plays its roles until stopped."""

    def __init__(
        self,
        config: Config,
        bus: AnyBus | None = None,
        directory: Directory | None = None,
        settled: Callable[[], None] = lambda: None,
        wiring: Wiring | None = None,
        count: Callable[[str, str], int] = next_incarnation,
        cloud: Cloud | None = None,
    ) -> None:
        """Make a node; `settled` is called once all roles are open. `count` numbers its starts.

        A virtual world brings its own wiring and its own count, and keeps no file of its `cloud`.
        """
        names = config.node.roles or tuple(found("roles"))
        config.check(known_sections())
        self.config, self.node = config, replace(config.node, roles=names)
        self.roles: dict[str, Role[Any]] = {}
        self.ready = False
        self.draining = False
        self.trust: Trust | None = None
        self._local: LocalKey | None = None
        self._kinds = role_types(names)
        self._bus, self._directory, self._settled = bus, directory, settled
        self._wiring, self._count = wiring, count
        self.cloud = cloud or Cloud(FileNotes(Path(self.node.state) / "cloud"), self.node.cluster)
        self._number = 0
        self._stopping = asyncio.Event()
        self._told: tuple[Any, ...] = ()
        self._waits: dict[str, str] = {}  # why a role could not open yet
        self._loops: list[asyncio.Task[None]] = []

    # -- running ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Play until stopped. A role that cannot open, or breaks, takes the node down.

        Raises the Fault that kept a role from opening.
        """
        take_bearings(self.cloud.bearings)
        async with AsyncExitStack() as opened:
            self.bus: AnyBus = await self.enter_bus(opened)
            self._check_credential()
            if self._is_open():
                log.warning(OPEN)
            leasing = chosen.leasing(self.config, self.bus.ask(Data))
            self._leases: Leases = await opened.enter_async_context(leasing)
            self.incarnation = self._count(self.node.state, self.node.node_id)
            self._announce()
            try:
                await self._play_all(opened)
            except* Fault as faults:
                raise _first(faults) from None

    async def _play_all(self, opened: AsyncExitStack) -> None:
        async with asyncio.TaskGroup() as tasks:
            playing = [tasks.create_task(self._play(kind, opened, tasks)) for kind in self._kinds]
            telling = tasks.create_task(self._keep_announcing())
            self._loops.append(tasks.create_task(self._keep_to_cloud()))
            for task in playing:
                await task
            if self.trust is not None:
                self._loops.append(tasks.create_task(self._muster(self.trust)))
            await self._serve_health(opened)
            self._settled()
            self.ready = True
            self._announce()
            log.info("ready", node=self.node.node_id, roles=self.node.roles)
            await self._stopping.wait()
            telling.cancel()
            for task in self._loops:
                task.cancel()

    async def _play(
        self, kind: type[Role[Any]], opened: AsyncExitStack, tasks: asyncio.TaskGroup
    ) -> None:
        role = await self._open(kind, opened)
        self.roles[kind.name] = role
        if role.cloud:
            self.cloud.keep(role.cloud)
            self._keep_to_own()
        for event, topic, reaction in role.reactions():
            self.bus.subscribe(event, quietly(kind.name, reaction), topic)
        for seconds, turn in role.loops():
            self._loops.append(tasks.create_task(repeated(kind.name, seconds, turn)))
        self._announce()

    async def _open(self, kind: type[Role[Any]], opened: AsyncExitStack) -> Role[Any]:
        """Open a role; one that needs the data service begins again as often as that goes away.

        Whoever starts beside a failure is to wait, not to fail as well.
        """
        while True:
            store = Store(self.bus, kind.name, self.node.node_id, self._leases)
            config = self.config.section(kind.name, kind.config_type())
            role = kind(config, self.node, self.bus, store, health=self, trust=self.trust)
            try:
                if kind.needs_data:
                    await self._answering(store.data)
                await opened.enter_async_context(asynccontextmanager(role.opened)())
            except Unavailable as fault:
                if not kind.needs_data:
                    raise
                if self._waits.get(kind.name) != fault.message:
                    log.warning("a role waits", role=kind.name, why=fault.message)
                self._waits[kind.name] = fault.message
                await asyncio.sleep(AGAIN_S)
            else:
                return role

    def stop(self) -> None:
        """Take nothing new on, finish what is under way, and leave; the second time, leave."""
        if self.draining or not self.ready:
            self._stopping.set()
            return
        self.draining = True
        self.ready = False
        self._announce()
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        log.info("draining", node=self.node.node_id)
        drains = (role.drain() for role in self.roles.values())
        try:
            async with asyncio.timeout(self.node.drain_seconds):
                await asyncio.gather(*drains, return_exceptions=True)
        except TimeoutError:
            log.warning("work is still under way; others will go on with it")
        self._stopping.set()

    # -- the bus and the directory ---------------------------------------------------------

    async def enter_bus(self, opened: AsyncExitStack, plays: bool = True) -> AnyBus:
        """Enter the bus of this configuration; a command that only looks plays no role on it.

        Without credential the first node makes the machine's local key. A command does not: made
        by root, the key could not be read by the user that csnode runs as.
        """
        bus_config = self.config.section("bus", BusConfig)
        if self._bus is not None:
            return self._bus
        streams = await opened.enter_async_context(streaming(self.config))
        if not bus_config.zeromq:
            alone = await opened.enter_async_context(AloneDirectory())
            return LocalBus(alone, streams)
        if self._wiring is None:
            self.trust = Trust.of(self.config)
            self._local = local.chosen(self.config, plays) if self.trust is None else None
        directory = self._directory or self._make_directory()
        await opened.enter_async_context(directory)
        bus = ZmqBus(bus_config, directory, self._wiring, streams, self.trust, local=self._local)
        bus.keep_to(self.cloud.has)
        return await opened.enter_async_context(bus)

    def _check_credential(self) -> None:
        """Raise Invalid if others would not believe what we announce."""
        if self.trust is None:
            return
        own = self.trust.credential
        if self.node.host_name != own.name:
            raise Invalid(
                f"[node] host is {self.node.host_name}, but the credential in {self.trust.folder}"
                f" is of the machine {own.name}"
            )
        if not is_node_of(self.node.node_id, own.name):
            raise Invalid(f"[node] name is {self.node.node_id}: it must begin with {own.name}/")
        if more := sorted(set(self.node.roles) - set(own.roles)):
            raise Invalid(
                f"[node] roles: this machine's credential does not allow {', '.join(more)};"
                f" `csnode node allow {own.name}` on a fabric machine changes that"
            )

    async def _muster(self, trust: Trust) -> None:
        """Keep the roll of the cluster's members right, come what may."""
        store = Store(self.bus, "", self.node.node_id, self._leases)
        while True:
            try:
                await muster.follow(store, trust, self.node.roles)
            except Exception:
                log.exception("the roll of members is not followed")
            await asyncio.sleep(ANNOUNCE_S)

    async def _answering(self, data: Data) -> None:
        """Wait until the data service of our cloud answers: nodes may start in any order."""
        while True:
            try:
                await self._meet(data)
            except Unavailable:
                await asyncio.sleep(0.05)
            except Conflict as conflict:
                self._stand_apart(conflict)
                await asyncio.sleep(ANNOUNCE_S)
                self.cloud.recall()
                self._keep_to_own()
            else:
                return

    async def _meet(self, data: Data) -> None:
        before = self.cloud.id
        await self.cloud.meet(data, self.bus.directory.members())
        if self.cloud.id != before:
            self._keep_to_own()

    def _keep_to_own(self) -> None:
        """Treat whoever is of another cloud as nobody, from now on."""
        if isinstance(self.bus, ZmqBus):
            self.bus.keep_to(self.cloud.has)
        self._announce()

    def _stand_apart(self, conflict: Conflict) -> None:
        if self.cloud.trouble != conflict.message:
            log.error("not the data service of this cloud", why=conflict.message)
        self.cloud.trouble = conflict.message

    async def _keep_to_cloud(self) -> None:
        """Go on meeting the data service: its time is ours, and one put back is to know it."""
        data = self.bus.ask(Data)
        while True:
            await asyncio.sleep(MEET_S)
            try:
                await self._meet(data)
            except Conflict as conflict:
                self._stand_apart(conflict)
            except Fault as fault:
                log.debug("the data service was not met", why=fault.message)

    def _make_directory(self) -> Directory:
        config = self.config.section("directory", DirectoryConfig)
        seal = Seal(self.node.cluster, self.trust, self._local.mark if self._local else b"")
        match config.kind:
            case "alone":
                return AloneDirectory()
            case "multicast":
                return MulticastDirectory(config, seal)
            case "static":
                return StaticDirectory(config, seal)
            case "zookeeper":
                return ZooKeeperDirectory(self.config.section("zookeeper", ZooKeeperConfig), seal)
            case "redis":
                return RedisDirectory(self.config.section("redis", RedisConfig), seal)
            case other:
                known = "multicast, static, zookeeper, redis, alone"
                raise Invalid(f"[directory] kind {other!r}: there are {known}")

    def _announce(self) -> None:
        """Tell the directory what we are, if that has changed."""
        calls, events = self.bus.endpoints if isinstance(self.bus, ZmqBus) else ("", "")
        serving = sorted(self.bus.serving().items())
        health = Health.DRAINING if self.draining else Health.OK
        told = (serving, health, tuple(self.roles), self.cloud.id)
        if told == self._told:
            return
        self._told = told
        self._number += 1
        self.bus.directory.announce(
            Member(
                node=self.node.node_id,
                cluster=self.node.cluster,
                incarnation=self.incarnation,
                number=self._number,
                host=self.node.host_name,
                roles=tuple(self.roles),
                serves=tuple(Serving(contract=c, at=at) for c, at in serving),
                calls=calls,
                events=events,
                health=health,
                load=float(self.bus.in_flight),
                version=__version__,
                cloud=self.cloud.id,
                key=self.bus.key if isinstance(self.bus, ZmqBus) else "",
            )
        )

    async def _keep_announcing(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_S)
            self._announce()

    # -- health ----------------------------------------------------------------------------

    async def _serve_health(self, opened: AsyncExitStack) -> None:
        config = self.config.section("health", HealthConfig)
        if config.listen:
            await opened.enter_async_context(health.serving(config.listen, self))

    def troubles(self) -> Mapping[str, Sequence[str]]:
        """Return what keeps each role from serving; a role that is not open yet says so."""
        missing = {
            k.name: (f"is not open yet{f': {why}' if (why := self._waits.get(k.name)) else ''}",)
            for k in self._kinds
            if k.name not in self.roles
        }
        troubles = missing | {name: tuple(r.troubles()) for name, r in self.roles.items()}
        if self.cloud.trouble:
            troubles |= {"cloud": (self.cloud.trouble,)}
        return troubles if self.trust is None else troubles | {"trust": self.trust.troubles()}

    def warnings(self) -> Mapping[str, Sequence[str]]:
        """Return what discovery, events, roles, cloud and trust do without now: all go on."""
        streams = self.bus.streams
        events = streams.troubles() if streams is not None else ()
        said = {name: role.warnings() for name, role in self.roles.items()}
        found = {"directory": self.bus.directory.troubles(), "events": events, **said}
        found["cloud"] = self.cloud.warnings(self.bus.directory.members())
        return found | {"trust": (OPEN,)} if self._is_open() else found

    def _is_open(self) -> bool:
        """Tell whether any user of this machine may join on loopback."""
        plain = self.trust is None and self._local is None and self._wiring is None
        return plain and isinstance(self.bus, ZmqBus)


def _first(faults: BaseExceptionGroup[Fault]) -> Fault:
    inner = faults.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
