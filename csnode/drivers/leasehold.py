"""The leasehold interface: the leases that hosts keep in a pool which several of them reach.

A host's lease in a pool is a promise that its keeper writes there again and again: if this does not
move for so long, I have stopped the host's machines on this pool. Whoever reads it, and sees it
stand still, need not reach the host to know.
"""

from __future__ import annotations

from abc import abstractmethod

from csnode.drivers.driver import Driver
from csnode.types import HostId, Message, Struct


class HostLease(Message):
    """What a host's keeper last wrote into a pool."""

    host: HostId
    epoch: str  # of this start of the keeper: counts of different ones do not compare
    count: int  # how often it wrote
    guarding: bool  # it stops the host's machines on the pool if it cannot write
    armed: bool  # if it dies or hangs itself, hardware resets the host
    stale_seconds: float  # standing still for so long, it proves that they are stopped


class Reading(Struct):
    """A lease as it was found."""

    mark: bytes  # other than before if anybody wrote since, also if what he wrote is torn
    lease: HostLease | None  # None: not one whole writing


class Leasehold(Driver):
    """The leases of one pool, as one host reaches them.

    The seat's id and name are the pool's, its address the id of the host, its folder where the
    pool is. A pool that hangs holds up nobody but who waits for an answer.
    """

    @abstractmethod
    async def write(self, lease: HostLease) -> None:
        """Put it in the place of the host's last one. Returns once every host would read it.

        Unavailable if the pool cannot be written; no answer at all if it hangs. Then it may still
        be written later, but never after what is asked to be written next.
        """

    @abstractmethod
    async def read(self, host: HostId) -> Reading:
        """Read what that host wrote last; from the pool itself, not from a memory of it.

        NotFound if it never wrote, Unavailable if the pool cannot be read.
        """

    def anew(self) -> None:
        """Begin anew: none of the host's machines on the pool runs.

        What stands in its place now is the pool, even if it is another file system than before.
        """

    def covers(self, path: str) -> bool:
        """Tell whether a disk of that path is on the pool."""
        folder = self.seat.folder.rstrip("/")
        return path == folder or path.startswith(folder + "/")
