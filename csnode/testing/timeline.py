"""The story of a virtual world: what happened, when, and to whom. Two runs tell the same."""

from __future__ import annotations

import sys
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

import structlog

from csnode.context import current
from csnode.testing.loop import OWNER, SimLoop

_DULL = {"part", "level", "timestamp"}


class Happening(NamedTuple):
    """One line: seconds since the world began, whose, and what."""

    at: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:10.4f}  {self.who:<10}  {self.what}"


class Timeline:
    """Collects what processes log, clients ask and the weather does."""

    def __init__(self, loop: SimLoop) -> None:
        self.happenings: list[Happening] = []
        self._loop = loop

    def add(self, who: str, what: str) -> None:
        """Note that this happens now."""
        self.happenings.append(Happening(self._loop.moment, who, what))

    @contextmanager
    def hearing(self) -> Generator[None]:
        """Have every log line of the world's processes told here, and nowhere else."""
        before = structlog.get_config()
        structlog.configure(
            processors=[self._logged],
            wrapper_class=structlog.make_filtering_bound_logger("INFO"),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**before)

    def _logged(self, _: Any, level: str, line: MutableMapping[str, Any]) -> str:
        event = line.pop("event")
        exc = line.pop("exc_info", None)
        said = [f"{key}={value}" for key, value in sorted(line.items()) if key not in _DULL]
        if exc:
            error = exc if isinstance(exc, BaseException) else _handled()
            said.append(f"error={error!r}")
        if trace := current().trace:
            said.append(f"trace={trace[:8]}")
        loud = "" if level == "info" else f"{level.upper()}: "
        self.add(
            OWNER.get().partition("#")[0] or "world", f"{loud}{event} {' '.join(said)}".rstrip()
        )
        raise structlog.DropEvent

    def text(self) -> str:
        """Return all of it, a line each."""
        return "\n".join(str(happening) for happening in self.happenings)

    def digest(self) -> str:
        """Return a digest that is the same for the same story, and only for it."""
        return sha256(self.text().encode()).hexdigest()


def _handled() -> BaseException | None:
    return sys.exc_info()[1]
