"""Which hosts reach a pool that several machines serve. Pure: what the directory says in, ids out.

The directory is a hint: a machine that is not heard for a while reaches what it reached. Only one
that is heard, and serves storage but not that pool, reaches it no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from csnode.directory.directory import Member, Served
from csnode.types import HostId


def reaching(pool: str, before: Collection[HostId], members: Sequence[Member]) -> list[HostId]:
    """Return the hosts that reach the pool, sorted; `before` are those known to reach it."""
    serving = {m.host for m in members if pool in m.places(Served.STORAGE)}
    others = {m.host for m in members if m.places(Served.STORAGE)} - serving
    gained, lost = _hosts(members, serving), _hosts(members, others)
    return sorted((set(before) | gained) - lost)


def _hosts(members: Iterable[Member], machines: Collection[str]) -> set[HostId]:
    """Return the hosts that processes on these machines run guests on."""
    return {HostId(at) for m in members if m.host in machines for at in m.places(Served.COMPUTE)}
