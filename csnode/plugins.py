"""What can be added from outside, found by entry point; our own parts are found the same way.

Groups: csnode.roles, csnode.drivers.{hypervisor,network,storage}, csnode.commands, csnode.sagas,
csnode.entities. The last three name modules: importing them declares what they hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from csnode.drivers.driver import Driver
from csnode.faults import Invalid
from csnode.model.entity import Entity

D = TypeVar("D", bound=Driver)


@cache
def found(group: str) -> dict[str, EntryPoint]:
    """Find the entry points of a group by name, sorted; of one name the first package's counts."""
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=f"csnode.{group}"), key=lambda p: p.name):
        points.setdefault(point.name, point)
    return points


def load(group: str, name: str) -> Any:
    """Load the object that some installed package offers under that name."""
    points = found(group)
    if name not in points:
        known = ", ".join(points) or "none"
        raise Invalid(f"no {group} plug-in is called {name!r}; there are: {known}")
    return points[name].load()


def load_all(group: str) -> dict[str, Any]:
    """Load everything offered in a group."""
    return {name: point.load() for name, point in found(group).items()}


def driver_type(kind: type[D], name: str) -> type[D]:
    """Return the driver of that kind that csnode.toml names: Hypervisor, "libvirt" and so on."""
    group = kind.__name__.lower().removesuffix("driver")
    offered = load(f"drivers.{group}", name)
    if not (isinstance(offered, type) and issubclass(offered, kind)):
        raise Invalid(f"the {group} plug-in {name!r} is not a {kind.__name__}")
    return offered


def declared(group: str) -> Iterator[type]:
    """Yield every class that stands in a module of the group; importing those declares them."""
    for module in load_all(group).values():
        members: dict[str, object] = module.__dict__
        for member in members.values():
            if isinstance(member, type):
                yield member


@cache
def entity_kinds() -> dict[str, type[Entity]]:
    """Return every kind of row, ours and plug-ins', by name."""
    kinds = {t.kind: t for t in declared("entities") if issubclass(t, Entity) and t.kind}
    return dict(sorted(kinds.items()))
