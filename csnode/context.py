"""What travels with every call besides its arguments: who asks, in which trace, which fence."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec.structs import replace

from csnode.clock import bearings
from csnode.faults import Outdated
from csnode.types import Message, Struct


class Context(Message):
    """One call's circumstances. The deadline is kept by the bus, not here."""

    trace: str = ""  # W3C trace id, 32 hex digits
    caller: str = ""  # "role@node"
    fence: int = 0  # of the lease or job it is made under; 0: none


def caller_of(role: str, node: str) -> str:
    """Name who calls or commits: "role@node", or the one of the two that there is."""
    return f"{role}@{node}" if role and node else role or node


def role_and_node(caller: str) -> tuple[str, str | None]:
    """Tell the role and the node of a caller; None if it is called by one half alone."""
    role, at, node = caller.partition("@")
    return role, node if at else None


CONTROLLING = frozenset({"api", "orchestrator", "data", "monitor", "fabric", "services"})
"""Roles whose machines read every row; the others see what is about their own places."""

HOSTING = frozenset({"compute", "network", "storage", "keeper"})
"""Roles of machines that run guests: they report on themselves, and intend nothing."""

NEWCOMER = "newcomer"
"""The role of somebody who holds a join token and is no member yet."""


class Principal(Struct):
    """Who proved to be the caller, by the key of the connection (csnode.trust); not what it says.

    A machine has one credential for all csnode processes on it. `places` are the ids of the hosts
    and pools it may speak for. Somebody who is only about to join has the role "newcomer".
    """

    name: str  # of the machine
    roles: frozenset[str]
    places: frozenset[str] = frozenset()

    @property
    def controls(self) -> bool:
        """Whether one of its roles is a controlling one."""
        return not CONTROLLING.isdisjoint(self.roles)


_proved: ContextVar[Principal | None] = ContextVar("proved", default=None)


def proved() -> Principal | None:
    """Return the running task's caller; None: this process itself, or a cluster without keys."""
    return _proved.get()


def prove(principal: Principal | None) -> None:
    """Make the rest of this task a call of that principal's. Only the bus may say so."""
    _proved.set(principal)


@contextmanager
def ourselves() -> Generator[None]:
    """Run a block as this process's own: what it asks here, it does not ask for its caller."""
    token = _proved.set(None)
    try:
        yield
    finally:
        _proved.reset(token)


_current: ContextVar[Context] = ContextVar("context", default=Context())  # noqa: B039 (it is frozen)


def current() -> Context:
    """Return the context of the running task."""
    return _current.get()


@contextmanager
def acting(
    *, trace: str | None = None, caller: str | None = None, fence: int | None = None
) -> Generator[Context]:
    """Run a block under a changed context; what is None stays as it is."""
    given = {"trace": trace, "caller": caller, "fence": fence}
    changed = replace(_current.get(), **{k: v for k, v in given.items() if v is not None})
    token = _current.set(changed)
    try:
        yield changed
    finally:
        _current.reset(token)


def enter(context: Context) -> None:
    """Run the rest of this task under a context that came from elsewhere."""
    _current.set(context)


ERA_BITS = 40


def era_of(number: int) -> int:
    """Return which life of the database gave that number: each restored backup begins one more.

    Numbers of commits stand above all of the eras before, so they only grow, come what may.
    """
    return number >> ERA_BITS


def first_after(number: int) -> int:
    """Return the number that the era after that number's begins past."""
    return (era_of(number) + 1) << ERA_BITS


class Fences:
    """The highest fence seen for each object: a lower one comes from somebody who lost it.

    A fence is the number of the commit that gave its caller the right to act, so fences of any
    two callers compare. Objects that a job needs alone are checked; where many jobs may act side
    by side (a network's router), building notes the fence and only tearing down checks it.
    A fence of an earlier era is refused for every object: its job was undone by a backup.

    Remembered are the objects ordered about last, or there would be an entry for each that ever
    was. An order is late by seconds; by then thousands of others were not ordered about here.
    """

    def __init__(self, keep: int = 10_000) -> None:
        self._keep = keep
        self._highest: dict[str, int] = {}  # ordered about last: last
        self._era = 0

    def check(self, object_id: str) -> None:
        """Raise Outdated if a later holder has already spoken for the object."""
        self.refuse(object_id)
        self.note(object_id)

    def refuse(self, object_id: str) -> None:
        """Check as `check`, but whoever comes after us may have a lower fence than ours."""
        fence = current().fence
        self._check_era(fence)
        highest = self._highest.get(object_id, 0)
        if fence and fence < highest:
            raise Outdated(
                f"the order for {object_id} is out of date", detail=f"fence {fence} < {highest}"
            )

    def note(self, object_id: str) -> None:
        """Remember the caller's fence, if it is the highest so far."""
        fence = current().fence
        self._check_era(fence)
        if fence > self._highest.get(object_id, 0):
            self._highest.pop(object_id, None)
            self._highest[object_id] = fence
            if len(self._highest) > self._keep:
                del self._highest[next(iter(self._highest))]

    def _check_era(self, fence: int) -> None:
        self._era = max(self._era, era_of(fence), bearings().era)
        if fence and era_of(fence) < self._era:
            raise Outdated(
                "the order is from before the database was put back", detail=f"fence {fence}"
            )
