"""The watchdog interface: hardware that resets a machine which does not speak up in time."""

from __future__ import annotations

from abc import abstractmethod

from csnode.drivers.driver import Driver


class Watchdog(Driver):
    """Entered, it is armed, and left in good order it is not; a process that dies leaves it armed.

    Its seat is the machine's; the folder is the device.
    """

    seconds: float = 0.0  # of silence until it resets the machine; known once it is entered

    @abstractmethod
    def pet(self) -> None:
        """Speak up. Unavailable if it cannot be told; then it will soon reset the machine."""
