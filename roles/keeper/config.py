"""The [keeper] section of csnode.toml."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import Section
from roles.keeper.guard import Terms

MARGIN_S = 4.0  # for clocks that drift, a look that comes late, a lease that is just being started


class KeeperConfig(Section):
    """What the keeper of a host asks others with, and which leases it keeps."""

    driver: str = "icmp"  # or sim, or a plug-in of the group csnode.drivers.prober
    options: dict[str, Any] = {}  # the driver's own
    hosts: Annotated[int, Meta(ge=1)] = 1  # how many this process plays; more than 1: simulated
    pools: dict[str, str] = {}  # shared pools to keep a lease in: name to folder, as in [storage]
    leases: str = "files"  # how; or sim, or a plug-in of the group csnode.drivers.leasehold
    lease_options: dict[str, Any] = {}  # that driver's own
    hypervisor: str = "libvirt"  # by which guests are stopped that lost their pool, as in [compute]
    hypervisor_options: dict[str, Any] = {}
    lease_seconds: Annotated[float, Meta(ge=5)] = 8.0  # without renewal, until they are stopped
    stop_seconds: Annotated[float, Meta(ge=1)] = 3.0  # that stopping them may take
    stale_seconds: Annotated[float, Meta(ge=0)] = 0.0  # until others rely on it; 0: as soon as safe
    watchdog: str = ""  # "/dev/watchdog": resets the host if this process dies; empty: nobody does
    watchdog_seconds: Annotated[int, Meta(ge=2)] = 10  # of silence, until it does

    def __post_init__(self) -> None:
        """Check the terms: others must not start a guest while it may still run here."""
        if self.stale_seconds and self.stale_seconds < self._safe(self.watchdog_seconds):
            raise ValueError(
                f"guests may run until {self._safe(self.watchdog_seconds) - MARGIN_S:g} s after the"
                f" last renewal, so others must wait {MARGIN_S:g} s longer than that"
                " - at `$.stale_seconds`"
            )

    def terms(self, watchdog_s: float) -> Terms:
        """Return the terms; `watchdog_s` is what the watchdog really takes; 0: there is none."""
        return Terms(
            lease_s=self.lease_seconds,
            stop_s=self.stop_seconds,
            stale_s=max(self.stale_seconds, self._safe(watchdog_s)),
            armed=watchdog_s > 0,
        )

    def _safe(self, watchdog_s: float) -> float:
        bites_s = watchdog_s if self.watchdog else 0.0
        return self.lease_seconds + self.stop_seconds + bites_s + MARGIN_S
