"""Findings: what is wrong, with which object, why that may be, and what cures it."""

from __future__ import annotations

from csnode.model.machine import GuestNetwork, GuestNic
from csnode.types import HostId, NetworkId, NicId, PoolId, Struct, TemplateId, VmId, VolumeId


class Cure(Struct, tag=True):
    """Base of the safe cures: each is a value that says what `repair` is to do."""


class RemoveDomain(Cure):
    """The host stops and forgets the machine."""

    host: HostId
    vm: VmId


class SetAside(Cure):
    """The pool moves the bytes out of use; nothing is deleted."""

    pool: PoolId
    id: VolumeId | TemplateId


class RemoveNic(Cure):
    """The router forgets the card."""

    host: HostId
    network: NetworkId
    nic: NicId


class TellNic(Cure):
    """The router is told of the card again."""

    host: HostId
    nic: GuestNic


class TellRouter(Cure):
    """The router is told again what it is to be."""

    host: HostId
    network: GuestNetwork


class RemoveRouter(Cure):
    """Nothing of the network is left on the host."""

    host: HostId
    network: NetworkId


class Recount(Cure):
    """A tally is made what its rows add up to; `revision` 0: there is none yet."""

    owner: str
    used: dict[str, int]
    revision: int


class DropRow(Cure):
    """A lock or a cancel that serves no job goes."""

    kind: str
    id: str
    revision: int


class GiveBack(Cure):
    """What an owner that is gone had taken is free again."""

    owner: str
    owner_kind: str
    range: str


class TakeAgain(Cure):
    """What a row uses is taken in its name."""

    kind: str
    id: str
    revision: int
    range: str
    value: int


class OrderStop(Cure):
    """The machine that does not run is stopped for good: what it holds is given back."""

    vm: VmId
    revision: int


class OrderNetwork(Cure):
    """A half-made network is finished if it is used, and taken down if not."""

    network: NetworkId
    revision: int
    used: bool


class FreeJob(Cure):
    """A stuck job's undo is tried again; if that is refused again, the job is released."""

    job: str


class ClearDoubt(Cure):
    """The host proves that it has no such machine, and is no longer in doubt."""

    host: HostId
    vm: VmId
    revision: int


class Finding(Struct):
    """One thing that is wrong.

    `host` is the host or pool where it was found, if it was found there. A note (`grave` is
    False) is worth knowing and no violation.
    """

    check: str  # a short name that never changes
    promise: str  # of DESIGN 7: P1 to P8
    kind: str  # of the object: a kind of row, or what was found outside
    id: str
    host: str
    what: str
    cause: str
    remedy: str
    repair: Cure | None = None
    grave: bool = True

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for the same thing, found again."""
        return self.check, self.kind, self.id, self.host


class Check(Struct, kw_only=False):
    """What findings of one name have in common."""

    name: str
    promise: str
    kind: str
    cause: str
    remedy: str
    grave: bool = True

    def found(
        self, id: str, what: str, *, host: str = "", repair: Cure | None = None, cause: str = ""
    ) -> Finding:
        """Make a finding; `cause` if more is known than the usual."""
        return Finding(
            check=self.name,
            promise=self.promise,
            kind=self.kind,
            id=id,
            host=host,
            what=what,
            cause=cause or self.cause,
            remedy=self.remedy,
            repair=repair,
            grave=self.grave,
        )
