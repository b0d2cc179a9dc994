"""A hypervisor of another make: the simulated one under another name."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from csnode.model.machine import HostFacts
from csnode.plugins import load

Sim: Any = load("drivers.hypervisor", "sim")


class AcmeHypervisor(Sim):
    """Says who made it."""

    async def describe(self) -> HostFacts:
        facts: HostFacts = await super().describe()
        return replace(facts, version="acme 1.0")
