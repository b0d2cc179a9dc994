"""How much of a host is given out, as `csnode status` and `csnode top` show it."""

from __future__ import annotations

import asyncio

from csnode.data.store import Store
from csnode.model.fit import capacity, given_out
from csnode.model.host import Host
from csnode.model.place import Cluster
from csnode.model.stock import Tally
from csnode.types import Struct


class Given(Struct):
    """The rows that say how much hosts have to give, and have given; by id."""

    clusters: dict[str, Cluster]
    tallies: dict[str, Tally]

    def columns(self, host: Host) -> dict[str, str]:
        """Return the columns of one host: what is given out, of what may be."""
        has = capacity(host, self.clusters.get(host.cluster))
        given = given_out(self.tallies.get(host.id))
        return {
            "cpus": f"{given.cpus}/{has.cpus}",
            "memory MiB": f"{given.memory_mib}/{has.memory_mib}",
        }


async def given_of(store: Store) -> Given:
    """Read what hosts have given out, and what may be."""
    clusters, tallies = await asyncio.gather(store.find(Cluster), store.find(Tally))
    return Given(clusters={c.id: c for c in clusters}, tallies={t.id: t for t in tallies})
