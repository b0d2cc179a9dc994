"""The leases that [lease] names."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from csnode.config import Config, LeaseConfig, RedisConfig, ZooKeeperConfig
from csnode.contracts.data import Data
from csnode.faults import Invalid
from csnode.lease.lease import Leases
from csnode.lease.redis import RedisLeases
from csnode.lease.stored import StoredLeases
from csnode.lease.zookeeper import ZooKeeperLeases


@asynccontextmanager
async def leasing(config: Config, data: Data) -> AsyncGenerator[Leases]:
    """Yield leases of that configuration; what is held at the end is given up. Raises Invalid."""
    cluster = config.node.cluster
    match config.section("lease", LeaseConfig).kind:
        case "data":
            yield StoredLeases(data)
        case "zookeeper":
            section = config.section("zookeeper", ZooKeeperConfig)
            async with ZooKeeperLeases(section, cluster) as zookeeper:
                yield zookeeper
        case "redis":
            async with RedisLeases(config.section("redis", RedisConfig), cluster) as redis:
                yield redis
        case other:
            raise Invalid(f"[lease] kind {other!r}: there are data, zookeeper, redis")
