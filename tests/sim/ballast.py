"""Weight in every tally, so that what is given back twice is seen: tallies never fall below zero.

A cloud with one machine cannot show it: its tallies are at zero after the first time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from csnode.model.fit import reserved
from csnode.model.footprint import footprints
from csnode.model.host import Host
from csnode.model.identity import Account
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.cloud import SimCloud
from roles.orchestrator.recount import Recount

OF_HOST = {"cpu": 1, "mhz": 500, "memory": 512, "vm": 1}
OF_ACCOUNT = {"user_vm": 1, "cpu": 1, "memory": 512, "volume": 1, "primary_storage": 2}
"""As much as a machine of the stories holds."""


async def owners(cloud: SimCloud) -> dict[str, Mapping[str, int]]:
    """Whose tallies are weighted, and by how much."""
    hosts: dict[str, Mapping[str, int]] = {h.id: OF_HOST for h in await cloud.store.find(Host)}
    accounts = await cloud.store.find(Account)
    return hosts | {f"account:{account.id}": OF_ACCOUNT for account in accounts}


@contextmanager
def not_counted_anew() -> Generator[None]:
    """Keep the sweep away, in whatever process: it would take the weight for an error."""

    async def turn(_: Recount) -> None:
        """Look at nothing."""

    with patch.object(Recount, "turn", turn):
        yield


async def weigh(cloud: SimCloud, by: int) -> None:
    """Put the weight there (1), or take it away (-1)."""
    change = cloud.store.change()
    for owner, weight in (await owners(cloud)).items():
        change.count(owner, {what: by * amount for what, amount in weight.items()})
    await change.commit()


async def is_counted_right(cloud: SimCloud, seconds: float = 60) -> bool:
    """Whether every tally is its rows' sum and the weight, once jobs that follow have ended."""
    async with asyncio.timeout(seconds):
        while await _wrong(cloud):
            await asyncio.sleep(1)
    return True


async def _wrong(cloud: SimCloud) -> list[str]:
    right = {owner: Counter(weight) for owner, weight in (await owners(cloud)).items()}
    volumes = await cloud.store.find(Volume)
    vms = await cloud.store.find(Vm)
    for host, held in reserved(vms).items():
        right[host].update(held)
    for account, held in footprints(vms, volumes).items():
        right[f"account:{account}"].update(held)
    used = {tally.id: tally.used for tally in await cloud.store.find(Tally)}
    return [
        f"{owner} counts {used.get(owner)}, and not {dict(sums)}"
        for owner, sums in right.items()
        if any(used.get(owner, {}).get(what, 0) != amount for what, amount in sums.items())
    ]
