"""What travels with every call besides its arguments: who asks, in which trace, which fence."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec.structs import replace

from csnode.faults import Refused
from csnode.types import Message


class Context(Message):
    """One call's circumstances. The deadline is kept by the bus, not here."""

    trace: str = ""  # W3C trace id, 32 hex digits
    caller: str = ""  # "role@node"
    fence: int = 0  # of the lease or job it is made under; 0: none


_current: ContextVar[Context] = ContextVar("context", default=Context())  # noqa: B039 (it is frozen)


def current() -> Context:
    """The context of the running task."""
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


class Fences:
    """The highest fence seen for each object: a lower one comes from somebody who lost it."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def check(self, object_id: str) -> None:
        """Raises Refused if a later holder has already spoken for the object."""
        fence = current().fence
        if not fence:
            return
        if fence < self._highest.get(object_id, 0):
            raise Refused(
                f"the order for {object_id} is out of date",
                detail=f"fence {fence} < {self._highest[object_id]}",
            )
        self._highest[object_id] = fence
