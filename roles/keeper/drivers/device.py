"""The watchdog of Linux: /dev/watchdog, as the kernel's Documentation/watchdog/watchdog-api.rst
has it.

Opening arms it, any writing is a sign of life, "V" just before closing disarms it. A device closed
without (its process died) goes on counting, unless the next process opens it in time.
"""

from __future__ import annotations

import array
import fcntl
import os
from contextlib import suppress
from types import TracebackType
from typing import Annotated, Self

from msgspec import Meta

from csnode.drivers.watchdog import Watchdog
from csnode.faults import Refused, Unavailable
from csnode.types import Struct

SET_TIMEOUT = 0xC0045706  # WDIOC_SETTIMEOUT, _IOWR('W', 6, int)
GOODBYE = b"V"


class DeviceOptions(Struct, forbid_unknown_fields=True):
    """How long it waits for a sign of life; hardware may round that up."""

    seconds: Annotated[int, Meta(ge=2)] = 10


class DeviceWatchdog(Watchdog):
    """Holds the device open; nobody else may have it (systemd's RuntimeWatchdogSec)."""

    options_type = DeviceOptions
    options: DeviceOptions

    async def __aenter__(self) -> Self:
        try:
            self._fd = os.open(self.seat.folder, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"no watchdog at {self.seat.folder}: {error.strerror}") from error
        try:
            self.seconds = float(self._set_timeout(self._fd, self.options.seconds))
        except OSError as error:
            self._disarm()
            raise Refused(
                f"{self.seat.folder} cannot be told its time: {error.strerror}; a watchdog whose "
                "time is unknown proves nothing"
            ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disarm on purpose only: a keeper that fell is one that does not guard."""
        if error is None:
            self._disarm()
        else:
            os.close(self._fd)

    def pet(self) -> None:
        try:
            os.write(self._fd, b"\0")
        except OSError as error:
            raise Unavailable(f"{self.seat.folder} takes no sign of life: {error}") from error

    def _disarm(self) -> None:
        with suppress(OSError):
            os.write(self._fd, GOODBYE)
        os.close(self._fd)

    def _set_timeout(self, fd: int, seconds: int) -> int:
        """Set the time; answer the time that the device really takes."""
        told = array.array("i", [seconds])
        fcntl.ioctl(fd, SET_TIMEOUT, told, True)
        return told[0]
