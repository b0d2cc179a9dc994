"""In which order processes are restarted, and as what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from csnode.directory.incarnation import next_incarnation
from tests.system.rolling.cloud import OURS, Version, checked_out, played
from tests.system.rolling.run import DOWN, LATE, UP, Turn

PREVIOUS = "40e7a12"
PREVIOUS_SHARED = "acdc854"  # the one above knows no PostgreSQL
SCHEMA_BEFORE = "0002"
Plan = tuple[Version, Sequence[Turn]]


def restart(folder: Path, commit: str, shared: bool) -> Plan:
    """The same version, every process once."""
    del folder, commit
    return OURS, [Turn(process=name) for name in played(UP, shared)]


def up(folder: Path, commit: str, shared: bool) -> Plan:
    """From the version before to this one: apis first, which wait for the data service that
    follows."""
    before = checked_out(commit, folder / "before")
    return before, [Turn(process=name) for name in played(UP, shared)]


def down(folder: Path, commit: str, shared: bool) -> Plan:
    """Back to the version before in the reverse order; the schema before the data service.

    The one of PostgreSQL stays: the other data process uses it.
    """
    before = checked_out(commit, folder / "before")
    next_incarnation(str(folder / "state"), "box/before")  # it ran here first: loopback is open
    return OURS, [_as(before, name) for name in played(DOWN, shared)]


def late(folder: Path, commit: str, shared: bool) -> Plan:
    """Up in another order: hosts first, the data service last."""
    before = checked_out(commit, folder / "before")
    return before, [Turn(process=name) for name in played(LATE, shared)]


def _as(before: Version, name: str) -> Turn:
    return Turn(process=name, version=before, schema=SCHEMA_BEFORE if name == "data" else "")


PLANS: dict[str, Callable[[Path, str, bool], Plan]] = {
    "restart": restart,
    "up": up,
    "down": down,
    "late": late,
}
