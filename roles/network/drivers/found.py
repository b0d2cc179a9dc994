"""Networks of ours that this host has traces of but was never told, or has forgotten.

Names hold eight digits of a network's id; a folder or a running dnsmasq names the whole of it.
Pure: values from what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from csnode.types import Struct
from roles.network.drivers import render
from roles.network.drivers.dnsmasq import Daemon


class Traces(Struct):
    """What a look around the host showed, of networks told and untold."""

    links: frozenset[str]  # names
    namespaces: frozenset[str]
    folders: frozenset[str]  # whole ids
    served: frozenset[str]  # whole ids of those that a dnsmasq runs for


def traces(
    links: Iterable[str], namespaces: Iterable[str], folder: Path, daemons: Iterable[Daemon]
) -> Traces:
    """Find traces; `folder` is the driver's own, and daemons of other folders are not ours."""
    confs = (Path(daemon.conf) for daemon in daemons)
    return Traces(
        links=frozenset(links),
        namespaces=frozenset(namespaces),
        folders=_whole(file.name for file in folder.iterdir() if file.is_dir()),
        served=_whole(c.parents[1].name for c in confs if folder in c.parents),
    )


def untold(prefix: str, seen: Traces, told: Collection[str]) -> list[str]:
    """Return the ids of networks that were not told, by rising id.

    They are eight digits where no more is known.
    """
    whole = seen.folders | seen.served | frozenset(told)
    name = re.compile(rf"{prefix}(?:[bgpx]|r-)({render.SHORT})")
    named = (name.fullmatch(each) for each in seen.links | seen.namespaces)
    short = {match[1] for match in named if match} - {id[:8] for id in whole}
    return sorted((whole - frozenset(told)) | short)


def remains(names: render.Names, id: str, seen: Traces) -> str:
    """Say what there is of an untold network's router; "" if it is no more than a bridge."""
    parts = {
        "its namespace": names.namespace in seen.namespaces,
        "its links": bool({names.guest_end, names.public_end} & seen.links),
        "its dnsmasq": id in seen.served,
        "its folder": id in seen.folders,
    }
    left = [part for part, here in parts.items() if here]
    return f"a router nobody told of has left {', '.join(left)}" if left else ""


def _whole(ids: Iterable[str]) -> frozenset[str]:
    return frozenset(id for id in ids if re.fullmatch(render.UUID, id))
