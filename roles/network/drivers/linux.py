"""The linux driver: a bridge a network, and its router in a network namespace.

Guests and their routers run on without csnode, but for metadata, which this process answers.
Everything is named after the network's id; what was told is kept in the seat's folder. Anti-spoof
between guests of one network is not done here: they share a bridge, as machines share a switch.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec
from msgspec.structs import replace

from csnode.drivers.driver import Seat
from csnode.drivers.network import NetworkDriver
from csnode.faults import Conflict, Fault, Full, Unavailable
from csnode.log import logger
from csnode.model.machine import FoundNetwork, FoundNic, GuestNetwork, GuestNic, Plug
from csnode.types import NetworkId, NicId, Struct
from roles.network.ability import Remembers
from roles.network.drivers import dnsmasq, render, router
from roles.network.drivers.checks import check_network, check_nic
from roles.network.drivers.command import check_tools, links
from roles.network.drivers.found import Traces, remains, traces, untold
from roles.network.drivers.metadata import Metadata
from roles.network.drivers.namespace import PLACE, in_thread, look
from roles.network.drivers.options import LinuxOptions
from roles.network.drivers.path import GuestPath, blocked, way_of
from roles.network.drivers.public import PublicSide
from roles.network.drivers.release import release
from roles.network.drivers.router import Part, Scene
from roles.network.drivers.told import Told, forget, make_open, read_all
from roles.network.drivers.tunnels import Tunnels, lacks_tunnel, usable

INOTIFY_INSTANCES = 8192  # every dnsmasq needs one; Linux allows 128
log = logger("network")


class LinuxNetwork(NetworkDriver, Remembers):
    """Needs root, iproute2, nftables and dnsmasq-base."""

    options_type: ClassVar[type[Struct]] = LinuxOptions
    options: LinuxOptions

    def __init__(self, options: Mapping[str, Any], seat: Seat) -> None:
        super().__init__(options, seat)
        self._folder = Path(seat.folder).absolute()
        self._told: dict[NetworkId, Told] = {}
        self._metadata = Metadata(self._find)
        self._public = PublicSide(
            self.options.public_bridge or f"{self.options.names}pub0",
            self.options.make_public,
            self.options.uplink,
            self._folder / "public",
        )
        local = self.options.vxlan_local or (seat.address if usable(seat.address) else "")
        self._path = GuestPath(self.options.names)
        self._tunnels = Tunnels(self.options.names, local, self.options.vxlan_peers)

    async def __aenter__(self) -> Self:
        check_tools()
        _raise_inotify_limit()
        with _as_faults():
            make_open(self._folder)
            dnsmasq.check_folder(self._folder)
            self._told = read_all(self._folder)
        await self._forget_before_boot()
        for told, scene in await self._scenes(self._told.values()):
            if Part.METADATA in self._missing(told, scene) and scene.sight:
                with suppress(OSError):  # a broken router; it is not surveyed, so told again
                    await self._serve_metadata(told)
        return self

    async def _forget_before_boot(self) -> None:
        """Forget routers of which nothing stands: they are from before this host started.

        The network may have one elsewhere by now: whether one belongs here is for the rows to say.
        """
        for told, scene in await self._scenes(self._told.values()):
            names = self._names(told.network.network)
            served = dnsmasq.of_folder(scene.daemons, told.dnsmasq)
            if scene.sight is None and names.bridge not in scene.links and not served:
                log.info("a router from before the host started", network=told.network.network)
                del self._told[told.network.network]
                with _as_faults():
                    forget(told.folder)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._metadata.close_all()

    def told(self) -> Mapping[NetworkId, GuestNetwork]:
        return {network: told.network for network, told in self._told.items()}

    # -- routers ---------------------------------------------------------------------------

    async def ensure_router(self, network: GuestNetwork) -> None:
        check_network(network)
        self._check_short(network.network)
        known = self._told.get(network.network)
        told = known or Told(self._folder / network.network, network)
        fresh = known is None and not (PLACE / self._names(network.network).namespace).exists()
        try:
            with _as_faults():
                if told.network != network or not told.kept:
                    told.keep_all(network)
                self._told[network.network] = told
                await self._mend(told)
        except BaseException:
            if fresh:  # a half-made router would be nobody's
                with suppress(Fault):
                    await self.ensure_no_router(network.network)
            raise

    async def ensure_no_router(self, network: NetworkId) -> None:
        """Remove the router.

        Raises Conflict, with the router gone and the bridge left, if cards are plugged in.
        """
        names = render.names_of_remains(self.options.names, network)
        folder = self._folder / network
        self._told.pop(network, None)
        with _as_faults():
            (folder / "told.json").unlink(missing_ok=True)  # first, or a restart would rebuild it
            self._metadata.close(network)
            await self._stop_dnsmasq(folder)
            async with self._public.alone():
                await router.unwire(names, await links())
                await self._public.ensure_none(await links())
                await self._public.ensure_uplink(self.told().values())
            forget(folder)
            found = await links()
            plugged = router.plugged_in(names, found)
            if plugged:
                raise Conflict(
                    f"machines are still plugged into the network's bridge on {self.seat.name}",
                    detail=f"{names.bridge}: {', '.join(plugged)}",
                )
            await router.drop_bridge(names, found)

    async def survey(self) -> dict[NetworkId, tuple[NicId, ...]]:
        with _as_faults():
            scenes = await self._scenes(self._told.values())
            working = [told for told, scene in scenes if not self._missing(told, scene)]
        return {told.network.network: tuple(sorted(told.nics)) for told in working}

    async def inspect(self) -> tuple[FoundNetwork, ...]:
        """Inspect: of a network that was never told here, all that is known may be eight digits."""
        with _as_faults():
            whole = {told.network.network: told for told in self._told.values()}
            scenes = await self._scenes(whole.values())
            around = await links()
            seen = await in_thread(lambda: self._traces(around))
        found = [self._found(told, scene) for told, scene in scenes]
        mtu = self._mtu(around)
        for id in untold(self.options.names, seen, {*whole, *self._told}):
            names = render.names_of_remains(self.options.names, id)
            found.append(
                FoundNetwork(
                    network=NetworkId(id),
                    trouble=remains(names, id, seen),
                    plugged=len(router.plugged_in(names, around)),
                    mtu=around[names.bridge].mtu if names.bridge in around else 0,
                )
            )
        way = way_of(self.told().values(), mtu, self._public.bridge, self.options.uplink)
        stopped = await self._path.look(way) if found else ""
        return tuple(
            replace(each, blocked=stopped) for each in sorted(found, key=lambda each: each.network)
        )

    @classmethod
    async def tried(cls, options: Mapping[str, Any]) -> dict[str, str]:
        chosen = msgspec.convert(dict(options), LinuxOptions)
        public = chosen.public_bridge or f"{chosen.names}pub0"
        way = way_of((), chosen.mtu, public, chosen.uplink)
        what = f"packets of guests, of up to {way.mtu} bytes, pass through this host"
        return {what: await blocked(chosen.names, way)}

    def _traces(self, around: router.Links) -> Traces:
        namespaces = [place.name for place in PLACE.glob(f"{self.options.names}r-*")]
        return traces(around, namespaces, self._folder, dnsmasq.running())

    def _found(self, told: Told, scene: Scene) -> FoundNetwork:
        lacking = sorted(self._missing(told, scene))
        names = self._names(told.network.network)
        return FoundNetwork(
            network=told.network.network,
            told=told.network,
            nics=tuple(
                FoundNic(nic=nic.nic, vm=nic.vm, mac=nic.mac, address=nic.address)
                for _, nic in sorted(told.nics.items())
            ),
            trouble=f"not as told: {', '.join(lacking)}" if lacking else "",
            plugged=len(router.plugged_in(names, scene.links)),
            mtu=scene.links[names.bridge].mtu if names.bridge in scene.links else 0,
        )

    async def _mend(self, told: Told) -> None:
        """Make every part that is missing."""
        names, network = self._names(told.network.network), told.network
        [(_, scene)] = await self._scenes([told])
        lacking = self._missing(told, scene)
        if Part.WIRES in lacking:
            await self._rewire(told, names)
        elif Part.RULES in lacking:
            told.keep_mark(await router.load_rules(names, network))
        if Part.MTU in lacking and Part.WIRES not in lacking:
            await router.ensure_mtu(names, scene.links, scene.mtu)
        if Part.DNSMASQ in lacking:
            await self._stop_dnsmasq(told.folder)
            await dnsmasq.start(told, names.namespace, scene.mtu)
        if Part.METADATA in lacking:
            await self._serve_metadata(told)

    async def _rewire(self, told: Told, names: render.Names) -> None:
        """Make everything anew but the bridge; nothing may be left in the old namespace before."""
        network = told.network
        self._metadata.close(network.network)
        await self._stop_dnsmasq(told.folder)
        async with self._public.alone():
            found = await links()
            await router.unwire(names, found)
            await self._ensure_bridge(network, names, found)
            if network.public_address:
                await self._public.ensure(network, found)
                await self._public.ensure_uplink(self.told().values())
            mtu = self._mtu(found)
            told.keep_mark(await router.wire(names, network, self._public.bridge, mtu))

    async def _ensure_bridge(
        self, network: GuestNetwork, names: render.Names, found: router.Links
    ) -> None:
        await router.ensure_bridge(names, found, network.vni, self._tunnels, self._mtu(found))

    async def reach(self, peers: Sequence[str]) -> None:
        """Reach those hosts: a bridge from before this host had an address gets its tunnel here."""
        with _as_faults():
            await self._tunnels.reach(peers)
            found = await links()
            await self._tunnels.ensure_mtu(self._mtu(found))
            for network in self.told().values() if self._tunnels.local else ():
                names = self._names(network.network)
                if lacks_tunnel(names, found):
                    await self._ensure_bridge(network, names, found)

    async def _serve_metadata(self, told: Told) -> None:
        network = told.network
        names = self._names(network.network)
        await self._metadata.open(network.network, names.namespace, network.gateway)

    async def _stop_dnsmasq(self, folder: Path) -> None:
        daemons = await in_thread(dnsmasq.running)
        await dnsmasq.stop(dnsmasq.of_folder(daemons, folder / "dnsmasq"))

    # -- cards -----------------------------------------------------------------------------

    async def ensure_nic(self, nic: GuestNic) -> None:
        """Tell the router the card.

        Raises Conflict if the network has no router here, or another card has the address.
        """
        told = self._told.get(nic.network)
        if told is None:
            raise Conflict(f"network {nic.network} has no router on {self.seat.name}")
        check_nic(nic, told.network)
        for other in told.nics.values():
            if other.nic != nic.nic and (other.address == nic.address or other.mac == nic.mac):
                raise Conflict(f"{nic.address} or {nic.mac} belongs to card {other.nic}")
        known = told.nics.get(nic.nic)
        with _as_faults():
            if known is not None and known != nic:
                await self._drop_card(told, known)
            await self._release(told, nic.address, but_for=nic.mac)
            dnsmasq.write_card(told, nic)
            told.keep_nic(nic)

    async def ensure_no_nic(self, network: NetworkId, nic: NicId) -> None:
        told = self._told.get(network)
        known = told.nics.get(nic) if told else None
        if told and known:
            with _as_faults():
                await self._drop_card(told, known)
                told.drop_nic(nic)

    async def ensure_plug(self, network: GuestNetwork, nic: GuestNic) -> Plug:
        check_network(network)
        check_nic(nic, network)
        self._check_short(network.network)
        names = self._names(network.network)
        with _as_faults():
            found = await links()
            await self._ensure_bridge(network, names, found)
        return Plug(nic=nic.nic, mac=nic.mac, bridge=names.bridge, mtu=self._mtu(found))

    async def _drop_card(self, told: Told, nic: GuestNic) -> None:
        dnsmasq.drop_card(told, nic.nic)
        daemons = await in_thread(dnsmasq.running)
        dnsmasq.hang_up(dnsmasq.of_folder(daemons, told.dnsmasq))
        await self._release(told, nic.address)

    async def _release(self, told: Told, address: str, but_for: str = "") -> None:
        """Release the address: no card has a lease of it, but for that MAC address."""
        holder = dnsmasq.leases(told).get(address)
        if holder is None or holder == but_for.lower():
            return
        names = self._names(told.network.network)
        daemons = dnsmasq.of_folder(await in_thread(dnsmasq.running), told.dnsmasq)
        try:
            if daemons:
                release(names.guest_end, holder, address, told.network.gateway, names.guest_mac)
        except OSError:  # a cut router: whoever rebuilds it starts dnsmasq again
            await dnsmasq.stop(daemons)
            daemons = []
        if not daemons:
            dnsmasq.drop_lease(told, address)
        elif not await dnsmasq.wait_released(told, address):
            raise Unavailable(f"dnsmasq does not release {address}")

    # -- what there is ---------------------------------------------------------------------

    async def _scenes(self, tolds: Iterable[Told]) -> list[tuple[Told, Scene]]:
        """Look at what there is of each router; one thread looks at them all."""
        chosen = [(told, self._names(told.network.network).namespace) for told in tolds]
        if not chosen:
            return []
        found = await links()
        daemons, sights = await in_thread(
            lambda: (tuple(dnsmasq.running()), [look(namespace) for _, namespace in chosen])
        )
        return [
            (
                told,
                Scene(
                    links=found,
                    daemons=daemons,
                    sight=sight,
                    served=self._metadata.place(told.network.network),
                    mtu=self._mtu(found),
                ),
            )
            for (told, _), sight in zip(chosen, sights, strict=True)
        ]

    def _mtu(self, found: router.Links) -> int:
        return self._tunnels.guest_mtu(found, self.options.mtu)

    def _missing(self, told: Told, scene: Scene) -> frozenset[Part]:
        names = self._names(told.network.network)
        return router.missing(told, names, scene, self._public.bridge)

    def _find(self, network: NetworkId, address: str) -> GuestNic | None:
        told = self._told.get(network)
        return told.nic_at(address) if told else None

    def _names(self, network: NetworkId) -> render.Names:
        return render.names_of(self.options.names, network, self.seat.id)

    def _check_short(self, network: NetworkId) -> None:
        """Raise Conflict if the network shares eight digits of its id with another here.

        Names hold no more: two networks that share them cannot be told apart.
        """
        self._names(network)  # it is a UUID
        for other in self._told:
            if other != network and other[:8] == network[:8]:
                raise Conflict(f"network {network} would be named as network {other} is on a host")


@contextmanager
def _as_faults() -> Generator[None]:
    """Raise what the system says as a Fault."""
    try:
        yield
    except OSError as error:
        why = f"the host's network cannot be changed: {error.strerror or error}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Full(f"the disk is full: {error.filename}") from error
        raise Unavailable(why, detail=repr(error)) from error


def _raise_inotify_limit() -> None:
    file = Path("/proc/sys/fs/inotify/max_user_instances")
    try:
        if int(file.read_text()) < INOTIFY_INSTANCES:
            file.write_text(str(INOTIFY_INSTANCES))
    except OSError as error:
        log.warning("inotify limit not raised", file=str(file), error=str(error))
