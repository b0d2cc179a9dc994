"""A hypervisor of another make: the simulated one under another name."""

from __future__ import annotations

from msgspec.structs import replace

from csnode.model.machine import HostFacts
from csnode.plugins import load

Sim = load("drivers.hypervisor", "sim")


class AcmeHypervisor(Sim):
    """Says who made it."""

    async def describe(self) -> HostFacts:
        return replace(await super().describe(), version="acme 1.0")
