"""The door to libvirt: the only file that imports it. A connection, and what libvirt says.

libvirt runs its own event loop in a thread and calls back from there, and every call to it runs
in a thread too. (Its asyncio adapter, libvirtaio, changes the loop's readers and timers from
whatever thread makes a call, which neither asyncio nor uvloop allows.)
"""

# libvirt-python says little of its types
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from csnode.faults import Fault, Full, Invalid, Refused, Unavailable
from roles.compute.drivers.said import reason

try:
    import libvirt
except ImportError as missing:
    raise Invalid(
        "the driver libvirt needs libvirt-python: pip install 'csnode[libvirt]'"
    ) from missing

T = TypeVar("T")


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
        """Hang up: libvirt keeps a connection, dead or not, for as long as it has callbacks.

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
    """Start libvirt's events, once a process, and before the first connection."""
    libvirt.registerErrorHandler(lambda *_: None, None)  # or it prints each error itself
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _wait_for_events() -> None:
    """Wait until libvirt's thread has left the callbacks that it was in."""
    passed = threading.Event()
    timer = libvirt.virEventAddTimeout(0, lambda *_: passed.set(), None)
    passed.wait()
    libvirt.virEventRemoveTimeout(timer)


def faulting(work: Callable[[], T], host: str) -> T:
    """Do the work, and raise what libvirt says as one of our faults."""
    try:
        return work()
    except libvirt.libvirtError as error:
        raise fault_of(error, host) from error


def fault_of(error: libvirt.libvirtError, host: str) -> Fault:
    """Return what libvirt said, as one of our faults."""
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


def active(domain: libvirt.virDomain) -> bool:
    """Tell whether the domain is active; one that is gone by now is not."""
    return bool(unless_gone(domain.isActive))


def unless_gone(ask: Callable[[], T]) -> T | None:
    """Return the answer; None if there is no such domain, or none any more."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def paused(domain: libvirt.virDomain) -> bool:
    """Tell whether it is paused: qemu starts every machine so, so it may just be starting."""
    return bool(domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED)


def act(do: Callable[[], Any], unless: Callable[[], bool]) -> None:
    """Do it; a failure does not matter if somebody else, or the guest, was quicker."""
    try:
        do()
    except libvirt.libvirtError:
        if not unless():
            raise
