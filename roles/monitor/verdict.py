"""What a host's presence in the directory means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from csnode.directory.directory import Health, Member, serving
from csnode.model.host import Host, Seen


def present(members: Sequence[Member]) -> dict[str, Health]:
    """Hosts for which somebody serves Compute, with the best health of those who do."""
    found: dict[str, Health] = {}
    for member in serving(members, "Compute"):
        for host in (h for s in member.serves if s.contract == "Compute" for h in s.at):
            found.setdefault(host, member.health)
    return found


def verdict(
    host: Host, here: Mapping[str, Health], silent_for: float, silence_s: float
) -> Seen | None:
    """What is to be written about the host; None if nothing changes.

    Silence alone never makes a host Down: that takes proof (a later matter); it makes an Alert.
    """
    health = here.get(host.id)
    if health in (Health.OK, Health.DRAINING):
        seen = Seen.UP
    elif health is Health.SUSPECT or silent_for <= silence_s:
        return None
    else:
        seen = Seen.ALERT
    return None if seen is host.seen else seen
