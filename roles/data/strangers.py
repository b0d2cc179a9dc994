"""Two databases under one cluster's name: whoever keeps the wrong one stops answering."""

from __future__ import annotations

from collections.abc import Sequence

from csnode.contracts.data import Data
from csnode.directory.directory import Member, serving

ROLE = "data"


def rivals(members: Sequence[Member], cloud: str) -> list[Member]:
    """Return those who serve the database of another cloud."""
    return [m for m in serving(members, Data.__name__) if m.cloud not in ("", cloud)]


def strangers(members: Sequence[Member], cloud: str) -> list[Member]:
    """Return those who keep another database, served or not."""
    return [m for m in members if ROLE in m.roles and m.cloud not in ("", cloud)]


def yields_to(members: Sequence[Member], own: str, cloud: str) -> Member | None:
    """Return the rival that we, `own`, give way to; None if there is none, or it gives way.

    Who has the cluster on its side stays: more other nodes that belong to its cloud. Of two alike,
    the one that started first. All nodes hear the same, so one of the two goes.
    """
    ours = next((m for m in members if m.node == own), None)
    if ours is None:
        return None
    for rival in rivals(members, cloud):
        if _standing(members, rival) > _standing(members, ours):
            return rival
    return None


def _standing(members: Sequence[Member], server: Member) -> tuple[int, int, str]:
    servers = {m.node for m in serving(members, Data.__name__)}
    followers = sum(m.cloud == server.cloud and m.node not in servers for m in members)
    return followers, -server.incarnation, server.node
