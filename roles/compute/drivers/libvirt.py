"""The libvirt hypervisor: QEMU domains of one host.

A domain's UUID is the machine's id; domains without csnode's metadata are left alone.
"""

# libvirt-python says little of its types
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from msgspec import Meta

from csnode.clock import now
from csnode.drivers.hypervisor import Hypervisor, Sighting
from csnode.faults import Refused
from csnode.model.machine import Domain, FoundDomain, HostFacts, Landing, Move
from csnode.types import Power, Struct, VmId
from roles.compute.drivers import host_facts
from roles.compute.drivers.console_log import ConsoleLogs
from roles.compute.drivers.domain_xml import NAMESPACE, domain_xml
from roles.compute.drivers.found import found_domain
from roles.compute.drivers.libvirtd import (
    Libvirtd,
    act,
    active,
    faulting,
    libvirt,
    paused,
    unless_gone,
)
from roles.compute.drivers.link import Link, in_daemon
from roles.compute.drivers.moves import MoveOptions, Moves
from roles.compute.drivers.sightings import Sightings, until_off

T = TypeVar("T")
PRESS_AGAIN_S = 5.0  # a guest that was still booting has missed the power button
REBOOT_S = 30.0  # how long a guest may take to begin its reboot

_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_POWER_AFTER = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: Power.ON,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: Power.OFF,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: Power.ABSENT,
}


class LibvirtOptions(MoveOptions, forbid_unknown_fields=True):
    """Where libvirtd is, and how it is to run machines."""

    uri: str = "qemu:///system"
    kvm: Literal["auto", "never"] = "auto"  # auto: where the processor really has it
    stop_seconds: Annotated[float, Meta(ge=0)] = 60.0  # how long a guest may shut down


class LibvirtHypervisor(Hypervisor):
    """Drives the libvirtd at `options.uri`. Consoles are logged in the seat's folder."""

    options_type: ClassVar[type[Struct]] = LibvirtOptions
    options: LibvirtOptions

    async def __aenter__(self) -> Self:
        self._logs = ConsoleLogs(self.seat.folder)
        await asyncio.to_thread(self._logs.prepare)
        self._kvm = self.options.kvm == "auto" and host_facts.kvm_usable()
        self._ours: dict[str, bool] = {}  # by UUID: whether the domain has our metadata
        self._sightings = Sightings()
        self._reboots: dict[VmId, asyncio.Event] = {}
        self._moves = Moves(self.options, self._find)
        self._loop = asyncio.get_running_loop()
        self._link = Link(f"libvirtd on {self.seat.name}", self._dial)
        await self._link.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sightings.end()
        await self._link.close()

    async def describe(self) -> HostFacts:
        version, libvirt_mhz = await self._call(
            lambda daemon: (daemon.api.getVersion(), daemon.api.getInfo()[3])
        )
        return HostFacts(
            name=self.seat.name,
            address=self.seat.address,
            hypervisor="KVM",  # CloudStack's word for every host with libvirt
            cpus=host_facts.cpus(),
            cpu_mhz=host_facts.cpu_mhz() or libvirt_mhz,
            memory_mib=host_facts.memory_mib(),
            version=f"QEMU {version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}",
        )

    async def ensure_running(self, domain: Domain) -> Power:
        """Run the domain; one that cannot be started is not left defined."""
        xml = domain_xml(
            domain,
            kvm=self._kvm,
            host_mhz=host_facts.cpu_mhz() or domain.cpu_mhz,
            log=str(self._logs.path(domain.vm)),
        )
        return await self._call(partial(self._start, domain.vm, xml))

    async def ensure_off(self, vm: VmId, forced: bool) -> Power:
        until = now() + (0 if forced else self.options.stop_seconds)
        while True:
            seen = self._sightings.watch()
            left_s = until - now()
            power = await self._call(partial(self._press, vm, left_s <= 0))
            if power is not Power.ON:
                return power
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, PRESS_AGAIN_S)):
                    await until_off(seen, vm)

    async def ensure_absent(self, vm: VmId) -> None:
        await self._call(partial(self._remove, vm))

    async def reboot(self, vm: VmId, forced: bool) -> Power:
        """Reboot it; unforced, the guest is asked, and reset if it has not begun after a while."""
        begun = self._reboots.setdefault(vm, asyncio.Event())
        try:
            if not forced and await self._call(partial(self._ask_to_reboot, vm)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(self.options.stop_seconds, REBOOT_S)):
                        await begun.wait()
                        return Power.ON
            await self._call(lambda daemon: self._running(daemon, vm).reset())
            return Power.ON
        finally:
            self._reboots.pop(vm, None)

    async def ensure_expected(self, vm: VmId) -> Landing:
        return Landing(console=str(self._logs.path(vm)))

    async def ensure_moved(self, move: Move) -> Power:
        """Move over a connection of its own: libvirtd answers a few calls of one at a time."""

        def send() -> Power:
            daemon = faulting(self._quiet, self.seat.name)
            try:
                return faulting(lambda: self._moves.send(move, daemon), self.seat.name)
            finally:
                daemon.hang_up()

        power = await in_daemon(send)
        if power is Power.ABSENT:
            await asyncio.to_thread(self._logs.remove, move.domain.vm)
        return power

    async def cancel_move(self, vm: VmId, stays: bool) -> Power:
        return await self._call(partial(self._moves.cancel, vm, stays))

    async def ensure_arrived(self, vm: VmId) -> Power:
        return await self._call(partial(self._moves.arrived, vm))

    async def survey(self) -> dict[VmId, Power]:
        return await self._call(self._survey)

    async def inspect(self) -> tuple[FoundDomain, ...]:
        return await self._call(self._inspect)

    def watch(self) -> AsyncIterator[Sighting]:
        return self._sightings.watch()

    async def console(self, vm: VmId) -> bytes:
        return await asyncio.to_thread(self._logs.tail, vm)

    # -- in a thread -----------------------------------------------------------------------

    async def _call(self, work: Callable[[Libvirtd], T]) -> T:
        return await self._link.call(lambda daemon: faulting(lambda: work(daemon), self.seat.name))

    def _dial(self, lost: Callable[[], None]) -> Libvirtd:
        return faulting(lambda: Libvirtd(self.options.uri, lost, self._told), self.seat.name)

    def _quiet(self) -> Libvirtd:
        """Make a connection that tells nothing by itself."""
        return Libvirtd(self.options.uri, lambda: None, lambda _, __: None)

    def _start(self, vm: VmId, xml: str, daemon: Libvirtd) -> Power:
        found = self._find(daemon, vm)
        if found is not None and active(found):
            if paused(found):
                act(found.resume, unless=lambda: not paused(found))
            return Power.ON
        defined = daemon.api.defineXML(xml)
        self._ours[vm] = True
        try:
            defined.create()
        except libvirt.libvirtError:
            with suppress(libvirt.libvirtError):
                if defined.isActive():  # somebody else was quicker
                    return Power.ON
                defined.undefineFlags(_EVERYTHING)
            raise
        return Power.ON

    def _press(self, vm: VmId, forced: bool, daemon: Libvirtd) -> Power:
        """Press the power button, or pull the plug. ON: pressed, and the guest has yet to react."""
        found = self._find(daemon, vm)
        if found is None:
            return Power.ABSENT
        if not active(found):
            return Power.OFF
        if forced:
            act(found.destroy, unless=lambda: not active(found))
            return Power.OFF
        button = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        act(lambda: found.shutdownFlags(button), unless=lambda: not active(found))
        return Power.ON

    def _remove(self, vm: VmId, daemon: Libvirtd) -> None:
        found = self._find(daemon, vm)
        if found is not None:
            if active(found):
                act(found.destroy, unless=lambda: not active(found))
            act(
                lambda: found.undefineFlags(_EVERYTHING),
                unless=lambda: self._find(daemon, vm) is None,
            )
        self._logs.remove(vm)

    def _ask_to_reboot(self, vm: VmId, daemon: Libvirtd) -> bool:
        """Tell whether the domain could be asked at all."""
        found = self._running(daemon, vm)
        try:
            found.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
        except libvirt.libvirtError:
            return False
        return True

    def _running(self, daemon: Libvirtd, vm: VmId) -> libvirt.virDomain:
        found = self._find(daemon, vm)
        if found is None or not active(found):
            raise Refused(f"machine {vm} does not run on {self.seat.name}, so it cannot reboot")
        return found

    def _survey(self, daemon: Libvirtd) -> dict[VmId, Power]:
        """Survey with one question, however many domains.

        Each answer holds its number, -1 if it is off.
        """
        self._logs.trim()
        return {
            VmId(domain.UUIDString()): Power.ON if domain.ID() >= 0 else Power.OFF
            for domain in daemon.api.listAllDomains()
            if self._is_ours(domain)
        }

    def _inspect(self, daemon: Libvirtd) -> tuple[FoundDomain, ...]:
        ours = filter(self._is_ours, daemon.api.listAllDomains())
        described = ((unless_gone(domain.XMLDesc), domain.ID()) for domain in ours)
        found = [found_domain(xml, on=number >= 0) for xml, number in described if xml]
        return tuple(sorted(found, key=lambda each: each.vm))

    def _find(self, daemon: Libvirtd, vm: VmId) -> libvirt.virDomain | None:
        found = unless_gone(lambda: daemon.api.lookupByUUIDString(vm))
        if found is not None and not self._is_ours(found):
            raise Refused(f"{self.seat.name} has a domain with the id {vm} that is not csnode's")
        return found

    def _is_ours(self, domain: libvirt.virDomain) -> bool:
        uuid = domain.UUIDString()
        if uuid not in self._ours:
            try:
                domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
                self._ours[uuid] = True
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return False  # it went while we looked
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    raise
                self._ours[uuid] = False
        return self._ours[uuid]

    # -- what libvirtd tells by itself -----------------------------------------------------

    def _told(self, uuid: str, event: int | None) -> None:
        """Take an event, in libvirt's thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            self._loop.call_soon_threadsafe(self._hear, uuid, event)

    def _hear(self, uuid: str, event: int | None) -> None:
        """Hear a lifecycle event of a domain; None: it reboots."""
        if event is None:
            if begun := self._reboots.get(VmId(uuid)):
                begun.set()
        elif self._ours.get(uuid) and (power := _POWER_AFTER.get(event)):
            self._sightings.tell(Sighting(vm=VmId(uuid), power=power))
            if power is Power.ABSENT:
                del self._ours[uuid]
