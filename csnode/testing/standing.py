"""Who is who in a virtual world: what a credential would say of each of its machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from csnode.config import Config
from csnode.context import Principal
from csnode.node import known_sections

HOSTED = ("compute", "network", "storage")


def principal(configs: Iterable[Config]) -> Principal:
    """Return a machine's principal, by the configurations of its processes.

    It has the roles that they play, and its hosts and pools: all that `csnode join` would give it,
    and no more.
    """
    roles: set[str] = set()
    places: set[str] = set()
    name = ""
    for config in configs:
        node = config.node
        name = node.host_name
        roles.update(node.roles)
        places.update(_places(config))
    return Principal(name=name, roles=frozenset(roles), places=frozenset(places))


def _places(config: Config) -> tuple[str, ...]:
    sections = {name: config.section(name, known_sections()[name]) for name in HOSTED}
    hosts = max(int(_of(sections, name, "hosts", 1)) for name in HOSTED)
    pool = str(_of(sections, "storage", "name", ""))
    if _of(sections, "storage", "shared", False):
        return config.node.places(hosts, "", (pool,))
    return config.node.places(hosts, pool)


def _of(sections: Mapping[str, Any], name: str, key: str, default: Any) -> Any:
    return getattr(sections[name], key, default)
