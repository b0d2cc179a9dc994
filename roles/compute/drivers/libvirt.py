"""The libvirt hypervisor: QEMU domains of one host. The only file that imports libvirt.

libvirt runs its own event loop in a thread and calls back from there, and every call to it runs
in a thread too. (Its asyncio adapter, libvirtaio, changes the loop's readers and timers from
whatever thread makes a call, which neither asyncio nor uvloop allows.)

A domain's UUID is the machine's id; domains without csnode's metadata are left alone.
"""

# libvirt-python says little of its types
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import cache, partial
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from msgspec import Meta

from csnode.clock import now
from csnode.drivers.hypervisor import Hypervisor, Sighting
from csnode.faults import Fault, Full, Invalid, Refused, Unavailable
from csnode.model.machine import Domain, FoundDomain, HostFacts
from csnode.types import Power, Struct, VmId
from roles.compute.drivers import host_facts
from roles.compute.drivers.console_log import ConsoleLogs
from roles.compute.drivers.domain_xml import NAMESPACE, domain_xml
from roles.compute.drivers.found import found_domain
from roles.compute.drivers.link import Link
from roles.compute.drivers.said import reason
from roles.compute.drivers.sightings import Sightings, until_off

try:
    import libvirt
except ImportError as missing:
    raise Invalid(
        "the driver libvirt needs libvirt-python: pip install 'csnode[libvirt]'"
    ) from missing

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


class LibvirtOptions(Struct, forbid_unknown_fields=True):
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
        """A domain that cannot be started is not left defined."""
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
        """Unforced: the guest is asked, and reset if it has not begun after a while."""
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
        return await self._link.call(lambda daemon: _faulting(lambda: work(daemon), self.seat.name))

    def _dial(self, lost: Callable[[], None]) -> Libvirtd:
        return _faulting(lambda: Libvirtd(self.options.uri, lost, self._told), self.seat.name)

    def _start(self, vm: VmId, xml: str, daemon: Libvirtd) -> Power:
        found = self._find(daemon, vm)
        if found is not None and _active(found):
            if _paused(found):
                _act(found.resume, unless=lambda: not _paused(found))
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
        """The power button, or the plug. ON: pressed, and the guest has yet to react."""
        found = self._find(daemon, vm)
        if found is None:
            return Power.ABSENT
        if not _active(found):
            return Power.OFF
        if forced:
            _act(found.destroy, unless=lambda: not _active(found))
            return Power.OFF
        button = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        _act(lambda: found.shutdownFlags(button), unless=lambda: not _active(found))
        return Power.ON

    def _remove(self, vm: VmId, daemon: Libvirtd) -> None:
        found = self._find(daemon, vm)
        if found is not None:
            if _active(found):
                _act(found.destroy, unless=lambda: not _active(found))
            _act(
                lambda: found.undefineFlags(_EVERYTHING),
                unless=lambda: self._find(daemon, vm) is None,
            )
        self._logs.remove(vm)

    def _ask_to_reboot(self, vm: VmId, daemon: Libvirtd) -> bool:
        """Whether the domain could be asked at all."""
        found = self._running(daemon, vm)
        try:
            found.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
        except libvirt.libvirtError:
            return False
        return True

    def _running(self, daemon: Libvirtd, vm: VmId) -> libvirt.virDomain:
        found = self._find(daemon, vm)
        if found is None or not _active(found):
            raise Refused(f"machine {vm} does not run on {self.seat.name}, so it cannot reboot")
        return found

    def _survey(self, daemon: Libvirtd) -> dict[VmId, Power]:
        """One question, however many domains: each answer holds its number, -1 if it is off."""
        self._logs.trim()
        return {
            VmId(domain.UUIDString()): Power.ON if domain.ID() >= 0 else Power.OFF
            for domain in daemon.api.listAllDomains()
            if self._is_ours(domain)
        }

    def _inspect(self, daemon: Libvirtd) -> tuple[FoundDomain, ...]:
        ours = filter(self._is_ours, daemon.api.listAllDomains())
        described = ((_unless_gone(domain.XMLDesc), domain.ID()) for domain in ours)
        found = [found_domain(xml, on=number >= 0) for xml, number in described if xml]
        return tuple(sorted(found, key=lambda each: each.vm))

    def _find(self, daemon: Libvirtd, vm: VmId) -> libvirt.virDomain | None:
        found = _unless_gone(lambda: daemon.api.lookupByUUIDString(vm))
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
        """In libvirt's thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            self._loop.call_soon_threadsafe(self._hear, uuid, event)

    def _hear(self, uuid: str, event: int | None) -> None:
        """A lifecycle event of a domain; None: it reboots."""
        if event is None:
            if begun := self._reboots.get(VmId(uuid)):
                begun.set()
        elif self._ours.get(uuid) and (power := _POWER_AFTER.get(event)):
            self._sightings.tell(Sighting(vm=VmId(uuid), power=power))
            if power is Power.ABSENT:
                del self._ours[uuid]


class Libvirtd:
    """One open connection. Made in a thread; `told` and `lost` are called in libvirt's own."""

    def __init__(
        self, uri: str, lost: Callable[[], None], told: Callable[[str, int | None], None]
    ) -> None:
        _start_events()
        self.api = libvirt.open(uri)
        self._lost, self._told = lost, told
        self.api.registerCloseCallback(self._closed, None)
        self.api.setKeepAlive(5, 3)  # silence for 20 s is death
        heard = (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted),
        )
        self._heard = [
            self.api.domainEventRegisterAny(None, event, tell, None) for event, tell in heard
        ]

    def alive(self) -> bool:
        return bool(self.api.isAlive())

    def hang_up(self) -> None:
        """libvirt keeps a connection, dead or not, for as long as it has callbacks.

        One that is closed while a callback of its own is under way takes the process with it.
        """
        _wait_for_events()
        for number in self._heard:
            with suppress(libvirt.libvirtError):
                self.api.domainEventDeregisterAny(number)
        for act in (self.api.unregisterCloseCallback, self.api.close):
            with suppress(libvirt.libvirtError):
                act()

    def _closed(self, *_: Any) -> None:
        self._lost()

    def _lifecycle(self, _: Any, domain: libvirt.virDomain, event: int, *__: Any) -> None:
        self._told(domain.UUIDString(), event)

    def _rebooted(self, _: Any, domain: libvirt.virDomain, *__: Any) -> None:
        self._told(domain.UUIDString(), None)


@cache
def _start_events() -> None:
    """Once a process, and before the first connection."""
    libvirt.registerErrorHandler(lambda *_: None, None)  # or it prints each error itself
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _wait_for_events() -> None:
    """Returns once libvirt's thread has left the callbacks that it was in."""
    passed = threading.Event()
    timer = libvirt.virEventAddTimeout(0, lambda *_: passed.set(), None)
    passed.wait()
    libvirt.virEventRemoveTimeout(timer)


def _faulting(work: Callable[[], T], host: str) -> T:
    try:
        return work()
    except libvirt.libvirtError as error:
        raise fault_of(error, host) from error


def fault_of(error: libvirt.libvirtError, host: str) -> Fault:
    """What libvirt said, as one of our faults."""
    code, said = error.get_error_code(), error.get_error_message() or str(error)
    text, detail = f"libvirt on {host}: {reason(said)}", f"libvirt error {code}: {said}"
    if error.get_error_domain() in {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}:
        return Unavailable(f"libvirtd on {host} does not answer: {said}", detail=detail)
    if code == libvirt.VIR_ERR_INVALID_ARG:
        return Invalid(text, detail=detail)
    if "Cannot allocate memory" in said or "No space left on device" in said:
        return Full(text, detail=detail)
    busy = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in {errno.EBUSY, errno.EAGAIN}
    if busy or code in {libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY}:
        return Unavailable(text, detail=detail)
    return Refused(text, detail=detail)


def _active(domain: libvirt.virDomain) -> bool:
    """A domain that is gone by now is not active."""
    return bool(_unless_gone(domain.isActive))


def _unless_gone(ask: Callable[[], T]) -> T | None:
    """The answer; None if there is no such domain, or none any more."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _paused(domain: libvirt.virDomain) -> bool:
    """qemu starts every machine paused, so this one may just be starting."""
    return bool(domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED)


def _act(act: Callable[[], Any], unless: Callable[[], bool]) -> None:
    """A failure does not matter if somebody else, or the guest, was quicker."""
    try:
        act()
    except libvirt.libvirtError:
        if not unless():
            raise
