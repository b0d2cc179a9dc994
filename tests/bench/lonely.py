"""One node of the discovery measurement: only its directory, in a process of its own.

`python -m tests.bench.lonely SETUP`, a JSON object: kind, name, trust (a folder), and the sections
of csnode.toml. It says "ready CPU-SECONDS" once everything is imported, joins at a line on its
standard input, says "MEMBERS SUSPECT WHEN" whenever one of these counts changes (WHEN on the
machine's monotonic clock), and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from csnode import log
from csnode.config import Config, DirectoryConfig, RedisConfig, ZooKeeperConfig
from csnode.directory.beacon import Seal
from csnode.directory.directory import Directory, Health, Member, Serving
from csnode.directory.multicast import MulticastDirectory
from csnode.directory.redis import RedisDirectory
from csnode.directory.static import StaticDirectory
from csnode.directory.zookeeper import ZooKeeperDirectory
from csnode.trust.trust import Trust
from csnode.types import NodeId, Struct


class Setup(Struct):
    """What a process is told."""

    kind: str
    name: str
    trust: str
    sections: dict[str, dict[str, object]]


def directory(setup: Setup, seal: Seal) -> Directory:
    config = Config(setup.sections)
    match setup.kind:
        case "zookeeper":
            importlib.import_module("kazoo.client")
            return ZooKeeperDirectory(config.section("zookeeper", ZooKeeperConfig), seal)
        case "redis":
            importlib.import_module("redis.asyncio")
            return RedisDirectory(config.section("redis", RedisConfig), seal)
        case "static":
            return StaticDirectory(config.section("directory", DirectoryConfig), seal)
        case _:
            return MulticastDirectory(config.section("directory", DirectoryConfig), seal)


async def live(setup: Setup) -> None:
    trust = Trust.read(Path(setup.trust))
    assert trust is not None
    made = directory(setup, Seal("bench", trust))
    told = (-1, -1)

    def tell(_member: Member, _present: bool) -> None:
        nonlocal told
        members = made.members()
        counts = (len(members), sum(m.health is Health.SUSPECT for m in members))
        if counts != told:
            told = counts
            print(*counts, time.monotonic(), flush=True)

    print("ready", time.process_time(), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with made:
        made.watch(tell)
        made.announce(
            Member(
                node=NodeId(f"{setup.name}/api"),
                cluster="bench",
                incarnation=time.time_ns() // 1_000_000,
                number=1,
                host=setup.name,
                roles=("api",),
                serves=(Serving(contract="Console", at=()),),
                calls="tcp://127.0.0.1:9001",
                events="tcp://127.0.0.1:9002",
                key=trust.credential.key,
            )
        )
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    log.start("error", "text")
    uvloop.run(live(msgspec.json.decode(sys.argv[1], type=Setup)))
