"""Columns that data services of earlier wire numbers do not know (csnode.directory.WIRE).

While one of them serves, these columns are left out where they say nothing, and refused where
they do: nothing is lost unnoticed. New kinds need no entry: that data service says so itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from csnode.faults import Conflict
from csnode.model.entity import Entity

SINCE: dict[int, dict[str, frozenset[str]]] = {
    2: {
        "host": frozenset(
            {
                "degraded", "fence_options", "fence_proof", "fenced", "ha", "ha_provider",
                "maintenance", "reconnect", "why",
            }
        ),
        "pool": frozenset({"hosts", "maintenance"}),
        "vm": frozenset({"ha", "moving_to"}),
        "zone": frozenset({"internal_dns2", "network_domain"}),
    },
    3: {},
    4: {
        "job": frozenset({"again", "tried"}),
        "nic": frozenset({"fixed", "last_address"}),
        "pool": frozenset({"away_since", "overprovisioning"}),
        "retired": frozenset({"fence_proof", "fenced"}),
        "template": frozenset({"waits"}),
        "vm": frozenset({"given_back"}),
        "volume": frozenset({"fence"}),
    },
}  # fmt: skip
"""Wire number, kind, the columns that came with it."""

COMMENTS = {
    "host": frozenset({"why"}),
    "nic": frozenset({"fixed"}),
    "template": frozenset({"waits"}),
    "volume": frozenset({"fence"}),
}
"""What may go unsaid for a while: nothing is decided by it, or what is can be done without."""

_ANY = {
    kind: frozenset[str]().union(*(new.get(kind, frozenset()) for new in SINCE.values()))
    for kind in {kind for new in SINCE.values() for kind in new}
}


def understood(
    kind: type[Entity], columns: dict[str, Any], wire: Callable[[], int]
) -> dict[str, Any]:
    """Return the columns that a data service of that wire number takes.

    `wire` is asked only if it matters. Raises Conflict if a column says something that must not be
    lost.
    """
    recent = _ANY.get(kind.kind)
    if recent is None or recent.isdisjoint(columns):
        return columns
    known = wire()
    new = {c for since, kinds in SINCE.items() if since > known for c in kinds.get(kind.kind, ())}
    for column in sorted((new & columns.keys()) - COMMENTS.get(kind.kind, frozenset())):
        if columns[column] != _default(kind, column):
            raise Conflict(
                f"{kind.kind}.{column} cannot be set before every data service is of this version"
            )
    return {column: value for column, value in columns.items() if column not in new}


def _default(kind: type[Entity], column: str) -> Any:
    field = next(field for field in msgspec.structs.fields(kind) if field.name == column)
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()
