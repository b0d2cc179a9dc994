"""The [orchestrator] section of csnode.toml."""

from __future__ import annotations

from csnode.config import Section


class OrchestratorConfig(Section):
    """How much at a time, and when to tidy up."""

    jobs_max: int = 256  # jobs run at once by this process
    places_max: int = 3  # hosts and pools that a machine's start is tried at, if some fail
    grace_seconds: float = 5.0  # before a job that is another's to claim is claimed anyway
    lease_seconds: float = 6.0  # after so long without renewal our jobs go to others
    network_gc_seconds: float = 600.0  # an idle network is shut down (network.gc.wait)
    expunge_seconds: float = 86400.0  # a destroyed machine is expunged (expunge.delay)
    job_keep_seconds: float = 86400.0  # ended jobs are kept (job.expire.minutes)
