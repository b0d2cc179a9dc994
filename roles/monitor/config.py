"""The [monitor] section of csnode.toml."""

from __future__ import annotations

from csnode.config import Section


class MonitorConfig(Section):
    """How long silence is tolerated, and how often capacity is asked for."""

    silence_seconds: float = 5.0  # a host not heard of for so long is Down, or in Alert
    capacity_seconds: float = 60.0
    lease_seconds: float = 6.0
    prober: str = "icmp"  # how it sees for itself whether a host answers; or sim, or a plug-in
