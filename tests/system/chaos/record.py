"""The record: every request as its client saw it, from its invocation to its answer, if one came.

Times are seconds of this process's monotonic clock. An answer is `unknown` when the client cannot
know whether the request took effect: the connection was lost, or the answer was 5xx without a
definite refusal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from csnode.types import Struct

Kind = Literal["ok", "refused", "unknown"]
REFUSED = frozenset({531, 533, 535, 536})  # 5xx that say: nothing was changed


class Request(Struct):
    """One request, and what came of it."""

    client: int
    at: str  # the endpoint asked, "api-1"
    command: str
    params: dict[str, str]
    invoked: float
    completed: float
    kind: Kind
    status: int = 0  # HTTP; 0: no answer
    answer: dict[str, Any] = {}


class Kill(Struct):
    """One process killed, and started again."""

    process: str  # "api-2"
    role: str
    at: float
    wall: float  # the same moment in seconds since 1970, as the database dates its commits
    restarted: float = 0.0  # when it was started again


class Record:
    """What happened, in the order in which it completed."""

    def __init__(self, requests: Iterable[Request] = (), kills: Iterable[Kill] = ()) -> None:
        self.requests: list[Request] = list(requests)
        self.kills: list[Kill] = list(kills)

    def note(self, request: Request) -> None:
        self.requests.append(request)

    def of(self, *commands: str) -> list[Request]:
        """The requests of these commands."""
        return [request for request in self.requests if request.command in commands]

    def write(self, folder: Path) -> None:
        """For whoever wants to look: a line each."""
        for name, rows in (("requests", self.requests), ("kills", self.kills)):
            with (folder / f"{name}.jsonl").open("wb") as file:
                for row in rows:
                    file.write(msgspec.json.encode(row) + b"\n")


def kind_of(status: int) -> Kind:
    """What an HTTP status says about the request's effect."""
    if status == 200:
        return "ok"
    unheard = status == 0 or (status >= 500 and status not in REFUSED)
    return "unknown" if unheard else "refused"


def parsed(body: bytes) -> dict[str, Any]:
    """What is inside the answer's wrapper."""
    found = msgspec.json.decode(body, type=dict[str, Any])
    inner: Any = next(iter(found.values()), None)
    return inner if isinstance(inner, dict) else {}  # type: ignore[reportUnknownVariableType]


def now() -> float:
    """This process's clock."""
    return time.monotonic()
