"""What is known of a host, and what follows from it. Pure.

A host that is not heard of may be dead; or only csnode on it is, and its machines run on; or the
network between is. Only of one that no witness reaches, while most of the cluster is heard, is it
said that it is Down. Even that is no proof: before its machines run elsewhere it is fenced.
"""

from __future__ import annotations

from collections.abc import Sequence

from csnode.directory.directory import Health, Member, Served, serving
from csnode.model.host import Host, Seen
from csnode.types import Struct

WITNESSES_MIN = 2


class Evidence(Struct):
    """What the monitor knows of one host."""

    compute: Health | None = None  # of who serves Compute there; None: nobody is heard
    silent_for: float = 0.0  # seconds since it was last well
    heard: tuple[str, ...] = ()  # other nodes of that machine that are heard
    reached_by: tuple[str, ...] = ()  # witnesses that it answered
    missed_by: tuple[str, ...] = ()  # witnesses that it did not answer
    machines_heard: int = 1  # of those known, the monitor's own among them
    machines_known: int = 1
    fenced: bool = False  # it was proven off, and has not been taken back


class Verdict(Struct):
    """What is to be written about the host."""

    seen: Seen
    why: str = ""


def present(members: Sequence[Member]) -> dict[str, Health]:
    """Find the hosts for which somebody serves Compute, with the best health of those who do."""
    found: dict[str, Health] = {}
    for member in serving(members, Served.COMPUTE):
        for host in member.places(Served.COMPUTE):
            found.setdefault(host, member.health)
    return found


def others_of(host: Host, members: Sequence[Member]) -> tuple[str, ...]:
    """Find nodes of the host's machine that are well, whatever they serve but Compute."""
    return tuple(
        m.node
        for m in members
        if m.health is not Health.SUSPECT
        and (
            m.host == host.name
            or any(host.id in s.at for s in m.serves if s.contract != Served.COMPUTE)
        )
    )


def most(heard: int, known: int) -> bool:
    """Tell whether so many speak for the cluster; of two machines, one is enough."""
    return heard * 2 > known or known <= 2


def verdict(evidence: Evidence, silence_s: float) -> Verdict | None:
    """Judge; None while nothing can be said yet, and what was said before stands."""
    if evidence.compute in (Health.OK, Health.DRAINING):
        if evidence.fenced:
            return Verdict(
                seen=Seen.CONNECTING, why="it was fenced, and what is left on it goes first"
            )
        return Verdict(seen=Seen.UP)
    if evidence.compute is Health.SUSPECT or evidence.silent_for < silence_s:
        return None
    return _of_silent(evidence)


def _of_silent(evidence: Evidence) -> Verdict:
    if evidence.fenced:
        return Verdict(seen=Seen.DOWN, why="it was fenced")
    reached, missed = ", ".join(evidence.reached_by), ", ".join(evidence.missed_by)
    if evidence.heard:
        which = ", ".join(evidence.heard)
        return _alert(f"its compute is silent, {which} on it is heard: its machines run on")
    if not most(evidence.machines_heard, evidence.machines_known):
        return _alert(
            f"this monitor hears {evidence.machines_heard} of {evidence.machines_known} machines:"
            " it may itself be cut off, so nothing is done"
        )
    if reached and missed:
        return _alert(f"a partition: {reached} can reach it, {missed} cannot; nothing is done")
    if reached:
        return _alert(f"csnode on it is silent, the host answers {reached}: its machines run on")
    if len(evidence.missed_by) < WITNESSES_MIN:
        asked = f"only {missed}" if missed else "nobody"
        return _alert(f"it is silent, and {asked} could be asked whether it answers")
    return Verdict(seen=Seen.DOWN, why=f"it is silent, and answers none of {missed}")


def _alert(why: str) -> Verdict:
    return Verdict(seen=Seen.ALERT, why=why)
