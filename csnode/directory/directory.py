"""The directory: who is alive, what they serve, and where to reach them.

It is a hint for addresses and load. Who owns what is decided by leases, never here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from csnode.types import Message, NodeId

WIRE = 4  # the number of the wire's shape: no newer is written than the lowest one asked knows
"""1: the cloud of one host. 2: the columns and kinds of many hosts (csnode/model/since.py).
3: orders that name the host on which a machine is to run.
"""


class Health(StrEnum):
    """What a node says of itself, or what its silence says."""

    OK = "ok"
    DRAINING = "draining"  # it finishes what it has; give it nothing new
    SUSPECT = "suspect"  # silent for a while: called only if nobody else can answer


class Served(StrEnum):
    """The contracts of csnode's own roles, as members announce them: the names of their classes."""

    DATA = "Data"
    MEMBERSHIP = "Membership"
    FABRIC = "Fabric"
    COMPUTE = "Compute"
    NETWORKING = "Networking"
    STORAGE = "Storage"
    KEEPER = "Keeper"


class Serving(Message):
    """A contract that a node serves; `at` names the hosts or pools, empty for any."""

    contract: str
    at: tuple[str, ...] = ()


class Member(Message):
    """One node, as it describes itself. Newer means a higher (incarnation, number)."""

    node: NodeId
    cluster: str
    incarnation: int  # grows with every start of the node
    number: int  # grows with every change of the record
    host: str  # the machine's name
    roles: tuple[str, ...]
    serves: tuple[Serving, ...]
    calls: str  # endpoint for calls, "tcp://192.0.2.1:9001"; "" if it serves nobody outside
    events: str  # endpoint of its publications
    health: Health = Health.OK
    load: float = 0.0  # calls in flight
    wire: int = WIRE
    version: str = ""
    key: str = ""  # Curve25519, public, Z85: of its connections; "" without a credential
    cloud: str = ""  # the id of the database that it works on; "" before it knows

    def places(self, contract: str) -> tuple[str, ...]:
        """Return the hosts or pools at which it serves the contract."""
        return tuple(
            at for served in self.serves if served.contract == contract for at in served.at
        )

    @property
    def address(self) -> str:
        """Where others reach it: an IP address; "" if it serves nobody outside."""
        host = self.calls.removeprefix("tcp://").rpartition(":")[0].strip("[]")
        return host.removeprefix("::ffff:")  # IPv4 on a socket that speaks both (RFC 4291)


Watcher = Callable[[Member, bool], None]
"""Told (member, present) when a member joins or changes (True), or is gone (False)."""


class Directory(Protocol):
    """Every backend passes csnode.testing.directory.DirectorySuite."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say goodbye, so that nobody has to wait for our silence."""

    def announce(self, member: Member) -> None:
        """Tell all others what this node is now; the first time joins it."""
        ...

    def members(self) -> Sequence[Member]:
        """Return everybody alive, ourselves included, sorted by node."""
        ...

    def watch(self, watcher: Watcher) -> None:
        """Call the watcher for every member known now, and for every change from now on."""
        ...

    def troubles(self) -> Sequence[str]:
        """Return what keeps it from seeing who comes and goes; the members known stay meanwhile."""
        ...


def serving(members: Sequence[Member], contract: str, at: str | None = None) -> list[Member]:
    """Find who serves the contract (at that host or pool, if given), the healthy ones first."""
    found = [
        m
        for m in members
        for s in m.serves
        if s.contract == contract and (at is None or not s.at or at in s.at)
    ]
    return sorted(found, key=lambda m: m.health is not Health.OK)


def floor(members: Sequence[Member]) -> int:
    """Return the lowest wire number alive."""
    return min((m.wire for m in members), default=WIRE)
